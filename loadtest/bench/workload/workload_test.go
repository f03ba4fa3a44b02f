package workload

import (
	"encoding/json"
	"testing"
	"time"

	"arrakis/pipeline/contract"
	"arrakis/tenant"
)

func TestMessagesAreWhatArrakisDecodes(t *testing.T) {
	for _, i := range []int{0, 99, 99_999} {
		body := Message(3, 123_456, i)
		if len(body) != MessageSize {
			t.Errorf("community %d: %d bytes, want %d", i, len(body), MessageSize)
		}
		e, err := contract.Decode(contract.KindCommand, body)
		if err != nil {
			t.Fatal(err)
		}
		if e.TenantKey != ID(i) || e.Command != Command || e.EventID != EventID(3, 123_456) {
			t.Errorf("decoded as %+v", e)
		}
	}
}

func TestTimedMessagesSayWhenTheyWereDue(t *testing.T) {
	for _, size := range []int{MessageSize, 16 << 10} {
		body := Timed(3, 7, 42, Quiet, 1_790_000_000_123_456, size)
		if len(body) != size {
			t.Errorf("%d bytes, want %d", len(body), size)
		}
		e, err := contract.Decode(contract.KindCommand, body)
		if err != nil {
			t.Fatal(err)
		}
		if e.TenantKey != ID(42) || e.Command != Quiet || e.EventID != EventID(3, 7) {
			t.Errorf("decoded as %+v", e)
		}
		var data struct{ Options Options }
		if err := json.Unmarshal(e.Data, &data); err != nil || data.Options.Due != 1_790_000_000_123_456 {
			t.Errorf("due at %d (%v)", data.Options.Due, err)
		}
	}
}

func TestMixesHaveTheirShares(t *testing.T) {
	for _, m := range []Mix{Tiers, Admitted, Steady, Open, Raised} {
		got := map[int64]int{}
		for i := range Communities {
			got[m.Limit(i)]++
		}
		want := map[Mix]map[int64]int{
			Tiers: {Unlimited: 10, 100: 20, 10: 70}, Admitted: {10_000: 100}, Steady: {Unlimited: 10, 1: 90}, Open: {Unlimited: 100},
			Raised: {Unlimited: 10, 1_000_000: 90},
		}[m]
		for limit, n := range want {
			if got[limit] != n {
				t.Errorf("%s: %d communities with limit %d, want %d", m, got[limit], limit, n)
			}
		}
	}
}

func TestDocumentsSayWhatLimitSays(t *testing.T) {
	for _, m := range []Mix{Tiers, Admitted, Steady, Open, Raised} {
		for _, i := range []int{0, 9, 10, 29, 30, 99, 12_345} {
			c, err := tenant.ParseConfig([]byte(m.Document(i)))
			if err != nil {
				t.Fatal(err)
			}
			resolved, _ := tenant.Resolve(ID(i), tenant.Documents{Config: &c, Tiers: new(tenant.Tiers)}, time.Time{}).Limit(tenant.Command)
			if want := m.Limit(i); resolved != want {
				t.Errorf("%s: community %d has %d, want %d", m, i, resolved, want)
			}
		}
	}
}

func TestIndexIsTheInverseOfID(t *testing.T) {
	for _, i := range []int{0, 7, 999, 1_000, 123_456} {
		if got, err := Index(ID(i)); err != nil || got != i {
			t.Errorf("%s is %d (%v), want %d", ID(i), got, err, i)
		}
	}
	for _, id := range []string{"", "comm_", "guild_1", "comm_x"} {
		if _, err := Index(id); err == nil {
			t.Errorf("%q has an index", id)
		}
	}
}

func TestPickerRepeatsItself(t *testing.T) {
	a, b := NewPicker(1, Communities), NewPicker(1, Communities)
	for range 1_000 {
		if x, y := a.Next(), b.Next(); x != y || x < 0 || x >= Communities {
			t.Fatalf("picked %d and %d", x, y)
		}
	}
}
