package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"arrakis/tenant"
)

// The keys and the channel of the contract.
const (
	configPrefix = "tenant:config:"
	tiersKey     = "arrakis:tiers"
	flagsKey     = "arrakis:flags"
)

// wrongType is the code of Redis's error for a key that holds another type.
const wrongType = "WRONGTYPE"

var (
	// ErrNotFound means that no document is stored under the given ID.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that the condition of a write does not hold, or that other writers kept changing the document
	// during an update.
	ErrConflict = errors.New("changed meanwhile")
)

// StoredError means that Redis holds a document that arrakis cannot use.
type StoredError struct {
	Key string // the key; for a hash the key, a space and the field
	Err error  // the faults: one or more [*tenant.FieldError], joined
}

func (e *StoredError) Error() string {
	return fmt.Sprintf("the document in Redis at %s cannot be used; replace or delete it: %v", e.Key, e.Err)
}

func (e *StoredError) Unwrap() error { return e.Err }

// Options are the settings of a Store. The zero value is usable.
type Options struct {
	// Source names this process in the events that it publishes. Defaults to "arrakis".
	Source string
	// LastGood is how many configs the store remembers, and how many accounts, at about 500 bytes each. If a document in
	// Redis becomes unusable, the remembered one is served. An unchanged document is not parsed again. A further one
	// replaces the least recently loaded one. Defaults to 100,000.
	LastGood int
	// SystemOfRecord is where documents are changed; Redis gets copies. Defaults to none: Redis itself.
	SystemOfRecord SystemOfRecord
	// Logger logs an error for each document in Redis that cannot be used, once for each change of the document, and
	// when it can be used again. Defaults to none.
	Logger *slog.Logger
}

// Store reads and writes configs, tiers and flags in Redis. It is safe for concurrent use.
type Store struct {
	// Set by New, read-only.
	rdb      redis.UniversalClient
	cluster  bool           // no transaction spans keys of different slots
	system   SystemOfRecord // nil: Redis itself
	source   string
	configs  *memory[tenant.Config]
	accounts *memory[tenant.Account]
	flags    *memory[tenant.Flag] // also of flagsKey: the hash as a whole

	tierDocuments *memory[tenant.Tiers] // of one key
	noTiers       *tenant.Tiers         // the defaults of the contract

	tiers   atomic.Pointer[tenant.Tiers] // the tiers in force, written by RefreshTiers and PutTiers
	flagSet atomic.Pointer[tenant.Flags] // the flags in force, written by Flags
}

// New makes a store on rdb: a single server, a failover client or a Cluster, but not a [redis.Ring]. The caller closes
// rdb.
func New(rdb redis.UniversalClient, opts Options) *Store {
	if opts.Source == "" {
		opts.Source = "arrakis"
	}
	if opts.LastGood <= 0 {
		opts.LastGood = 100_000
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	log := opts.Logger.With("component", "tenant")
	_, cluster := rdb.(*redis.ClusterClient)
	s := &Store{
		rdb:      rdb,
		cluster:  cluster,
		system:   opts.SystemOfRecord,
		source:   fmt.Sprintf("%.64s", opts.Source),
		configs:  newMemory[tenant.Config](opts.LastGood, log),
		accounts: newMemory[tenant.Account](opts.LastGood, log),
		flags:    newMemory[tenant.Flag](MaxFlags+1, log),

		tierDocuments: newMemory[tenant.Tiers](1, log),
		noTiers:       new(tenant.Tiers),
	}
	s.tiers.Store(s.noTiers)
	s.flagSet.Store(tenant.NewFlags())
	return s
}

// Load returns the tenants of ids, in the same order, with one round trip to Redis: an MGET, or on Cluster a pipeline;
// with one more if a config names an account. A community without a config is a free tenant. A config that cannot be used is logged; its tenant has the last usable
// config that this store has seen, or is a free tenant if there was none. An error is Redis's or ctx's.
func (s *Store) Load(ctx context.Context, ids []string) ([]*tenant.Tenant, error) {
	tenants, errs := s.LoadEach(ctx, ids, nil)
	for _, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("load %d tenants: %w", len(ids), err)
		}
	}
	return tenants, nil
}

// LoadEach is Load with an error for each id, because on a Cluster a part of the tenants may be readable. A tenant is
// nil if there is an error for its id, which is an [*AccountError] if the tenant's account could not be read. skip, if it
// is not nil, says of the key of an account why it must not be read.
func (s *Store) LoadEach(ctx context.Context, ids []string, skip func(key string) error) ([]*tenant.Tenant, []error) {
	keys := keysOf(configPrefix, ids)
	texts, errs := s.textsEach(ctx, keys)
	configs := make([]*tenant.Config, len(ids))
	for i, key := range keys {
		if errs[i] == nil {
			configs[i], _ = s.configs.read(ctx, key, texts[i])
		}
	}
	accounts := s.accountsOf(ctx, configs, skip)
	tiers, now := s.Tiers(), time.Now()
	tenants := make([]*tenant.Tenant, len(ids))
	for i, id := range ids {
		d := tenant.Documents{Config: configs[i], Tiers: tiers}
		if d.Config != nil && d.Config.Account != "" {
			a := accounts[d.Config.Account]
			d.Account, errs[i] = a.account, a.err
		}
		if errs[i] == nil {
			tenants[i] = tenant.Resolve(id, d, now)
		}
	}
	return tenants, errs
}

// ConfigKey returns the key in Redis of the config that is stored under id.
func ConfigKey(id string) string { return configPrefix + id }

// keysOf are the keys of documents.
func keysOf(prefix string, ids []string) []string {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = prefix + id
	}
	return keys
}

// texts reads the texts of keys. The text is nil for an absent key, and for a key that does not hold a string.
func (s *Store) texts(ctx context.Context, keys []string) ([]*string, error) {
	texts, errs := s.textsEach(ctx, keys)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// textsEach is texts with an error for each key.
func (s *Store) textsEach(ctx context.Context, keys []string) ([]*string, []error) {
	texts, errs := make([]*string, len(keys)), make([]error, len(keys))
	switch {
	case len(keys) == 0:
	case s.cluster:
		s.textsBySlot(ctx, keys, texts, errs)
	default:
		if err := s.textsAtOnce(ctx, keys, texts); err != nil {
			for i := range errs {
				errs[i] = err
			}
		}
	}
	return texts, errs
}

func (s *Store) textsAtOnce(ctx context.Context, keys []string, texts []*string) error {
	values, err := s.rdb.MGet(ctx, keys...).Result()
	if err != nil {
		return err
	}
	if len(values) != len(keys) {
		return fmt.Errorf("MGET of %d keys returned %d values", len(keys), len(values))
	}
	for i, v := range values {
		if text, ok := v.(string); ok {
			texts[i] = &text
		}
	}
	return nil
}

func (s *Store) textsBySlot(ctx context.Context, keys []string, texts []*string, errs []error) {
	cmds := make([]*redis.StringCmd, len(keys))
	// Pipelined returns the first error of any command. The error of each command is checked below.
	_, _ = s.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			cmds[i] = p.Get(ctx, key)
		}
		return nil
	})
	for i, cmd := range cmds {
		text, err := cmd.Result()
		switch {
		case err == nil:
			texts[i] = &text
		case !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, wrongType):
			errs[i] = err
		}
	}
}

// Get reads the config stored under id. It returns [ErrNotFound] if no config is stored, and a [*StoredError] together
// with the version if the document cannot be used.
func (s *Store) Get(ctx context.Context, id string) (tenant.Config, Version, error) {
	if err := tenant.CheckID(id); err != nil {
		return tenant.Config{}, "", err
	}
	c, v, err := get[tenant.Config](ctx, s, Name{KindTenant, id})
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("tenant %q: %w: it has the free tier; store a config to change that", id, err)
	}
	return c, v, err
}

// Tiers returns the defaults in force in this process. These are the defaults of the contract until a RefreshTiers or
// PutTiers succeeds. The result is shared and must not be changed.
func (s *Store) Tiers() *tenant.Tiers { return s.tiers.Load() }

// RefreshTiers reads the global tiers document and puts it in force in this process. Tenants that are already resolved
// do not change. Call it at start and at every global_config event, before tenants are loaded again. A document that
// cannot be used is logged, and the tiers in force stay. They also stay on an error, which is Redis's or ctx's.
func (s *Store) RefreshTiers(ctx context.Context) error {
	reply := s.rdb.Do(ctx, "get", tiersKey)
	if err := reply.Err(); err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, wrongType) {
		return fmt.Errorf("read %s: %w", tiersKey, err)
	}
	tiers, _ := s.tiersOf(ctx, reply)
	s.tiers.Store(tiers)
	return nil
}

// tiersOf returns the tiers document in the reply to a GET, or the one in force if it cannot be used.
func (s *Store) tiersOf(ctx context.Context, reply *redis.Cmd) (tiers *tenant.Tiers, usable bool) {
	text, err := reply.Text()
	switch {
	case errors.Is(err, redis.Nil):
		s.tierDocuments.forget(ctx, tiersKey)
		return s.noTiers, true
	case err != nil: // of another type
		s.tierDocuments.refuse(ctx, tiersKey, 0, err)
		return s.Tiers(), false
	}
	if tiers, usable := s.tierDocuments.read(ctx, tiersKey, &text); usable {
		return tiers, true
	}
	return s.Tiers(), false
}

// GetTiers reads the global tiers document. If none is stored, the document is empty and has no version.
func (s *Store) GetTiers(ctx context.Context) (tenant.Tiers, Version, error) {
	c, v, err := get[tenant.Tiers](ctx, s, Name{Kind: KindTiers})
	if errors.Is(err, ErrNotFound) {
		return tenant.Tiers{}, "", nil
	}
	return c, v, err
}
