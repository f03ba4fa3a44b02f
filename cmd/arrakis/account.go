package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"arrakis/pipeline/view"
	"arrakis/tenant"
	"arrakis/tenant/store"
)

type accountCmd struct {
	Get         accountGetCmd         `cmd:"" help:"Show an account."`
	List        accountListCmd        `cmd:"" help:"List the accounts."`
	Set         accountSetCmd         `cmd:"" help:"Create an account or change its tier, features and limits."`
	Communities accountCommunitiesCmd `cmd:"" help:"List the communities that are in an account."`
	Delete      accountDeleteCmd      `cmd:"" help:"Delete an account. Its communities then have what their own configs say."`
}

func (*accountCmd) Help() string {
	return `Several communities that share one subscription are in one account. "arrakis tenant set <community> --account <id>" puts a community into it. ` +
		`The account says the tier of its communities. Its limits are counted for each of them, or for all of them together.`
}

// accountArg is the account that a command is about.
type accountArg struct {
	ID string `arg:"" help:"ID of the account."`
}

func (c *accountArg) validate(process) error { return tenant.CheckAccountID(c.ID) }

type accountGetCmd struct {
	accountArg
	storeFlags
}

func (c *accountGetCmd) Run(ctx context.Context, p process) error {
	return c.showAccount(ctx, p, c.ID, func(tenants *store.Store) (tenant.Account, store.Version, error) {
		return tenants.GetAccount(ctx, c.ID)
	})
}

// showAccount prints the account that f returns. The output for people shows what a community in it has.
func (s *storeFlags) showAccount(ctx context.Context, p process, id string, f func(*store.Store) (tenant.Account, store.Version, error)) error {
	return s.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		account, _, err := f(tenants)
		if err != nil {
			return nextStep(err, "arrakis account set "+id+" --tier pro")
		}
		return s.print(p.stdout, view.Account(account), func(t *table) {
			resolved := view.Member(id, &account, tenants.Tiers())
			t.row("account", id)
			if account.Name != "" {
				t.row("name", account.Name)
			}
			t.row("tier", string(account.Tier))
			t.row("limits", countedTexts[resolved.Account.Counted])
			settingRows(t, resolved, nil)
			t.row("created", when(account.CreatedAt))
			t.row("updated", when(account.UpdatedAt))
		})
	})
}

// countedTexts say for people how limits are counted.
var countedTexts = map[tenant.Counting]string{
	tenant.Each:     "counted for each of its communities",
	tenant.Together: "counted for all communities together, but for user_command",
}

type accountListCmd struct {
	pageFlags
	storeFlags
}

func (c *accountListCmd) Run(ctx context.Context, p process) error {
	return c.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		entries, next, err := allPages(c.pageFlags, func(o store.ListOptions) ([]store.AccountEntry, string, error) {
			page, err := tenants.ListAccounts(ctx, o)
			return page.Entries, page.Cursor, err
		})
		if err != nil {
			return err
		}
		return c.print(p.stdout, view.NewAccounts(entries, next), func(t *table) { accountsTable(t, tenants.Tiers(), entries, next) })
	})
}

func accountsTable(t *table, tiers *tenant.Tiers, entries []store.AccountEntry, cursor string) {
	if len(entries) == 0 && cursor == "" {
		t.row("there are no accounts: `arrakis account set <id> --tier pro` makes one")
		return
	}
	t.row("ACCOUNT", "TIER", "COUNTED", "COMMANDS/MIN", "CHECKS/H", "SYNCS/DAY", "NAME")
	for i := range entries {
		e := &entries[i]
		if e.Err != nil {
			t.row(e.ID, "cannot be used: see `arrakis account get "+e.ID+"`")
			continue
		}
		r := view.Member(e.ID, &e.Account, tiers)
		row := []string{e.ID, string(r.Tier), string(r.Account.Counted)}
		t.row(append(append(row, limitCells(r)...), e.Account.Name)...)
	}
	moreRow(t, cursor)
}

type accountSetCmd struct {
	accountArg
	Tier    string `placeholder:"TIER" help:"Tier of its communities: free, pro or enterprise, whatever their own configs say, and whatever was bought for them on Discord."`
	Counted string `placeholder:"HOW" help:"How limits are counted: each, so that each community has the whole of a limit, or together, so that all share it. Limits of users are counted for each community in any case."`
	Name    string `placeholder:"TEXT" help:"Name for people; default for none."`
	overrideFlags
	storeFlags
}

func (c *accountSetCmd) Run(ctx context.Context, p process) error {
	members := map[string]any{"tier": c.Tier, "counted": c.Counted, "name": c.Name}
	if c.Name == "default" {
		members["name"] = nil
	}
	patches, err := c.patches(members)
	if err != nil {
		return usageError{err}
	}
	edit := merges(patches, (*tenant.Account).Merge)
	if err := edit(&tenant.Account{Tier: tenant.Free}); err != nil {
		return usageError{err}
	}
	return c.showAccount(ctx, p, c.ID, func(tenants *store.Store) (tenant.Account, store.Version, error) {
		return tenants.UpdateAccount(ctx, c.ID, edit)
	})
}

type accountCommunitiesCmd struct {
	accountArg
	pageFlags
	storeFlags
}

func (*accountCommunitiesCmd) Help() string {
	return `This reads the configs of all tenants. The table is that of "arrakis tenant list", where the @ after a TIER says that it is the account's.`
}

func (c *accountCommunitiesCmd) Run(ctx context.Context, p process) error {
	return c.withTiers(ctx, p, func(_ redis.UniversalClient, tenants *store.Store) error {
		entries, next, err := allPages(c.pageFlags, func(o store.ListOptions) ([]store.Entry, string, error) {
			page, err := tenants.AccountCommunities(ctx, c.ID, o)
			return page.Entries, page.Cursor, err
		})
		if err != nil {
			return err
		}
		return c.print(p.stdout, view.NewTenants(entries, next), func(t *table) {
			if len(entries) == 0 && next == "" {
				t.row("no community is in this account: `arrakis tenant set <community> --account " + c.ID + "` puts one into it")
				return
			}
			listTable(t, tenants.Tiers(), entries, next)
		})
	})
}

type accountDeleteCmd struct {
	accountArg
	Force bool `help:"Delete it although communities are in it."`
	storeFlags
}

func (*accountDeleteCmd) Help() string {
	return "An account is not deleted while a community is in it. To know that, this reads the configs of all tenants."
}

func (c *accountDeleteCmd) Run(ctx context.Context, p process) error {
	var options []store.DeleteOption
	follows := "no community was in it"
	if c.Force {
		options, follows = append(options, store.EvenIfUsed), "communities that were in it have what their own configs say now"
	}
	return c.deleted(ctx, p, c.ID, follows, func(tenants *store.Store) error {
		err := tenants.DeleteAccount(ctx, c.ID, "", options...)
		if errors.Is(err, store.ErrAccountUsed) {
			err = fmt.Errorf("%w; `arrakis account communities %s` lists them, and --force deletes it all the same", err, c.ID)
		}
		return err
	})
}

// accountRow says in which account a community is.
func accountRow(t *table, m *tenant.Membership) {
	if m != nil {
		t.words(strings.Fields(view.AccountText(m)), "account")
	}
}
