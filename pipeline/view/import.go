package view

import (
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"arrakis/tenant"
)

// maxFaults is how many faults of a list are told.
const maxFaults = 20

// ImportedTenant is a tenant of a list that was read again.
type ImportedTenant struct {
	ID     string // under which it is to be stored
	Config tenant.Config
}

// ParseTenants reads [Tenants] that a list has printed: one page, or several one after the other. next is the cursor with
// which the list goes on after the last of them, "" if that was the end. Of a tenant that comes twice, the last entry counts: a
// list may change from page to page. It is as strict as [tenant.ParseConfig]. The error names the faults of up to 20 tenants,
// each with its place, counted from 1.
func ParseTenants(r io.Reader) (all []ImportedTenant, next string, err error) {
	var faults []error
	dec := jsontext.NewDecoder(r)
	known := make(map[string]int) // where in all a tenant is
	for place := 0; ; {
		var page struct {
			Tenants []jsontext.Value `json:"tenants"`
			Next    string           `json:"next"`
			Others  jsontext.Value   `json:",embed"`
		}
		err := json.UnmarshalDecode(dec, &page)
		if errors.Is(err, io.EOF) && dec.InputOffset() > 0 {
			break
		}
		if err != nil {
			return nil, "", fmt.Errorf("expected the JSON of a list of tenants: %w", err)
		}
		if page.Tenants == nil {
			return nil, "", errors.New(`expected the JSON of a list of tenants: an object with the member "tenants"`)
		}
		next = page.Next
		for _, text := range page.Tenants {
			place++
			t, err := parseImported(text)
			if err != nil && len(faults) < maxFaults {
				faults = append(faults, fmt.Errorf("tenant %d (%.128q): %w", place, t.ID, err))
			}
			if i, twice := known[t.ID]; twice {
				all[i] = t
				continue
			}
			known[t.ID] = len(all)
			all = append(all, t)
		}
	}
	return all, next, errors.Join(faults...)
}

// parseImported reads an entry of a list: a config with what the list adds.
func parseImported(text jsontext.Value) (ImportedTenant, error) {
	var entry struct {
		ID     string         `json:"id"`
		ETag   string         `json:"etag"`
		Error  string         `json:"error"`
		Config jsontext.Value `json:",embed"`
	}
	if err := json.Unmarshal(text, &entry); err != nil {
		return ImportedTenant{}, err
	}
	t := ImportedTenant{ID: entry.ID}
	if err := tenant.CheckID(entry.ID); err != nil {
		return t, err
	}
	if entry.Error != "" {
		return t, errors.New("the list says that its document cannot be used")
	}
	var err error
	t.Config, err = tenant.ParseConfig(entry.Config)
	return t, err
}
