package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"arrakis/pipeline/view"
	"arrakis/tenant/store"
)

// importers is how many tenants are written at the same time.
const importers = 8

type tenantImportCmd struct {
	File   string `arg:"" help:"JSON of \"tenant list --json\" or of GET /v1/tenants, several pages one after the other too; - is standard input."`
	DryRun bool   `help:"Check everything, and say what would be written."`
	storeFlags
}

func (*tenantImportCmd) Help() string {
	return `Each tenant replaces the one that is stored under its ID, as PUT /v1/tenants/{id} does; others stay. All of the file is checked before anything is written.`
}

func (c *tenantImportCmd) Run(ctx context.Context, p process) error {
	in, err := p.openInput(c.File)
	if err != nil {
		return usageError{err}
	}
	defer in.Close() //nolint:errcheck // only read
	all, next, err := view.ParseTenants(in)
	if err != nil {
		return usageError{err}
	}
	if c.DryRun {
		return c.printed(p, len(all), "would write", next)
	}
	tell := progress(p.stderr, "wrote")
	return c.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		var mu sync.Mutex // protects done
		done := 0
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(importers)
		for _, one := range all {
			g.Go(func() error {
				if _, _, err := tenants.Put(ctx, one.ID, one.Config, store.PutOptions{}); err != nil {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				done++
				tell(done, len(all))
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return fmt.Errorf("%w\n%d of %d tenants are written; to write all of them again does no harm", err, done, len(all))
		}
		return c.printed(p, done, "wrote", next)
	})
}

// printed says what was done, and whether the list was cut short: then the tenants behind next are not in it.
func (c *tenantImportCmd) printed(p process, n int, verb, next string) error {
	return c.print(p.stdout, map[string]any{"tenants": n, "written": !c.DryRun, "next": next}, func(t *table) {
		t.row(fmt.Sprintf("%s %d tenants", verb, n))
		if next != "" {
			t.row("these are not all tenants of the list: its next page begins at the cursor " + next)
		}
	})
}
