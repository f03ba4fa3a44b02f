package lanes

import (
	"testing"
	"time"

	"arrakis/pipeline/contract"
)

// store takes room for messages until n are stored or there is none, and returns how many are stored.
func (s *parts) store(community string, n int, size int64, now time.Time) (stored int) {
	for stored < n && s.take(community, size, now) {
		s.ended(community, size, true)
		stored++
	}
	return stored
}

// holds is a look at an OVERFLOW of 1,000,000 bytes that holds so many messages of communities, of so many bytes in all.
func holds(bytes uint64, messages map[string]uint64) *overflow {
	o := &overflow{bound: 1_000_000, bytes: bytes, waiting: map[Key]waiting{}}
	for community, n := range messages {
		o.waiting[command(community)] = waiting{messages: n}
		o.messages += n
	}
	return o
}

func newParts(o *overflow) *parts {
	s := &parts{communities: map[string]*part{}}
	s.begin()
	s.see(o, time.Now())
	return s
}

// A community has at most what is free: alone half, two a third each, and there is room for the next one.
func TestParts(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newParts(holds(0, nil))
	for i, want := range []struct {
		community string
		has       int64
	}{{"a", 500_000}, {"b", 250_000}, {"c", 125_000}, {"a", 500_000}} {
		s.store(want.community, 1_000_000, 100, now)
		if has := s.communities[want.community].has(); has > want.has || has < want.has-1_000 {
			t.Errorf("step %d: %s has %d bytes, want %d", i, want.community, has, want.has)
		}
	}
	if s.take("d", 100_000, now) {
		t.Error("a message found room that would have had more than is free")
	}
	if !s.take("d", 1_000, now) {
		t.Error("the next community finds no room")
	}

	two := newParts(holds(0, nil))
	for two.store("a", 1, 100, now)+two.store("b", 1, 100, now) > 0 { // in turns
	}
	for _, community := range []string{"a", "b"} {
		if has := two.communities[community].has(); has > 333_400 || has < 333_000 {
			t.Errorf("%s has %d bytes, want a third", community, has)
		}
	}

	unbounded := newParts(&overflow{bound: -1})
	if n := unbounded.store("a", 10, 1<<40, now); n != 10 {
		t.Errorf("%d of 10 messages found room where there is no bound", n)
	}
}

// What a look has found counts by the average size of what this process has stored, and what it stores while it looks
// counts until the next look.
func TestPartsAreEstimated(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newParts(holds(100_000, map[string]uint64{"other": 100}))
	if has := s.communities["other"].has(); has != 100_000 {
		t.Errorf("a community of which this process has stored nothing: %d bytes, want 100,000: the average of all", has)
	}
	s.store("a", 100, 500, now)
	if !s.take("a", 700, now) {
		t.Fatal("no room")
	}
	s.begin()
	s.store("a", 10, 500, now)
	s.ended("a", 700, true)
	s.see(holds(150_000, map[string]uint64{"other": 100, "a": 90}), now)
	if has := s.communities["a"].has(); has != 90*501+10*500+700 {
		t.Errorf("%d bytes", has)
	}
	if has := s.all.has(); has != 150_000+10*500+700 {
		t.Errorf("%d bytes in all", has)
	}
	// Refused by the server, or not known: not stored.
	s.take("a", 900, now)
	s.ended("a", 900, false)
	s.begin()
	s.see(holds(0, nil), now)
	if n := len(s.communities); n != 0 {
		t.Errorf("%d communities that have nothing are remembered", n)
	}
}

// Who makes its messages small, after it has filled its part with large ones, gains nothing by that.
func TestPartsOfMixedSizes(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newParts(holds(0, nil))
	large := s.store("a", 1_000_000, 5_000, now)
	small := 0
	for range 10 {
		s.begin()
		s.see(holds(uint64(large*5_000+small*100), map[string]uint64{"a": uint64(large + small)}), now)
		small += s.store("a", 1_000_000, 100, now)
		large += s.store("a", 1_000_000, 5_000, now)
	}
	if bytes := large*5_000 + small*100; bytes > 520_000 {
		t.Errorf("%d bytes of %d large and %d small messages", bytes, large, small)
	}
}

// A message that may be in OVERFLOW already finds room beyond its community's part, but for the last tenth of OVERFLOW.
func TestPartsOfWhatComesAgain(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newParts(holds(0, nil))
	s.store("a", 4_000, 100, now) // four fifths of its part
	again := 0
	for again < 20_000 && s.takeAgain("a", 100, now) {
		s.ended("a", 100, again%2 == 0) // the others were there
		if again++; !s.communities["a"].refused.IsZero() {
			t.Fatal("a community counts as full, although none of its messages was refused")
		}
	}
	if s.communities["a"].refused.IsZero() {
		t.Error("a community does not count as full, although a message was refused")
	}
	if has := s.all.has(); has > 900_000 || has < 899_000 {
		t.Errorf("%d bytes are taken, want nine tenths", has)
	}
	if s.take("a", 100, now) {
		t.Error("a new message found room beyond the part")
	}
	if !s.takeAgain("b", 10_000, now) {
		t.Error("a community that has less than its part finds no room")
	}
}

// That a community finds no room is told once, and once that it has found some for a while.
func TestPartsThatAreFull(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := newParts(holds(0, nil))
	look := func(at time.Time, messages uint64) map[string]bool {
		s.begin()
		return s.see(holds(messages*1_000, map[string]uint64{"a": messages}), at)
	}
	s.store("a", 1_000, 1_000, now)
	for i, want := range []struct {
		after    time.Duration
		messages uint64
		refused  bool
		told     int // 1: full, -1: not any more
		full     int
	}{
		{0, 500, false, 1, 1},
		{time.Second, 500, true, 0, 1},
		{2 * time.Second, 0, false, 0, 1},
		{time.Second + fullTime, 0, false, -1, 0},
		{time.Second + fullTime, 0, true, 1, 1},
	} {
		at := now.Add(want.after)
		if want.refused {
			s.refuse("a", at)
		}
		changed := look(at, want.messages)
		told := 0
		if full, ok := changed["a"]; ok {
			told = map[bool]int{true: 1, false: -1}[full]
		}
		if told != want.told || s.full() != want.full {
			t.Errorf("step %d: told %v, and %d full; want %+v", i, changed, s.full(), want)
		}
	}
}

// A publisher is refused for a community that has its part, and for no other one.
func TestDoorIsShutForOne(t *testing.T) {
	t.Parallel()
	d := newDoors(t)
	d.open("big", true)
	d.open("other", true)
	d.open("limited", false)
	c, err := d.w.js.Stream(t.Context(), contract.StreamOverflow)
	if err != nil {
		t.Fatal(err)
	}
	config := c.CachedInfo().Config
	config.MaxBytes = 10_000
	if _, err := d.w.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	d.after(0)
	enter := func(community string) error {
		p, err := d.Enter(t.Context(), command(community), 1_000)
		if err == nil {
			p.End()
		}
		return err
	}
	for range 4 {
		if err := enter("big"); err != nil {
			t.Fatal(err)
		}
	}
	if err := enter("big"); err != ErrFull { //nolint:errorlint // it is not wrapped
		t.Errorf("error %v, want that it has its part", err)
	}
	d.parts.store("limited", 100, 500, time.Now())
	if err := enter("limited"); err != ErrFull { //nolint:errorlint // as above
		t.Errorf("error %v for a message that would have to be moved, want that its community has its part", err)
	}
	if err := enter("other"); err != nil {
		t.Errorf("the other community: %v", err)
	}
	if l, _, _ := d.known(command("big")); l.onWay.Load() != 0 {
		t.Errorf("%d messages are on their way, want 0", l.onWay.Load())
	}
	d.after(0) // nothing of it is in OVERFLOW
	if err := enter("big"); err != nil {
		t.Errorf("when its messages are gone: %v", err)
	}
}
