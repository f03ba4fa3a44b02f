package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"arrakis/tenant/record"
)

// postgresSettings are the settings of every command that works on tenants.
type postgresSettings struct {
	PostgresURL string `name:"postgres-url" group:"postgres" placeholder:"URL" help:"postgres://user:password@host:5432/database: the system of record of tenants, accounts, tiers and flags, and of who has changed them. Default: none; then it is Redis."`
}

// recordSettings are the settings of a worker's system of record.
type recordSettings struct {
	postgresSettings
	AuditRetention time.Duration `group:"postgres" default:"${audit_retention}" min:"1h" max:"87600h" help:"How long PostgreSQL keeps who has changed what. 9600h are 400 days."`
}

func (s *postgresSettings) validate() error {
	if s.PostgresURL == "" {
		return nil
	}
	if err := record.CheckURL(s.PostgresURL); err != nil {
		return fmt.Errorf("POSTGRES_URL (--postgres-url): %w", err)
	}
	return nil
}

// open makes the system of record of a worker; nil if there is none. The caller closes it.
func (s *recordSettings) open(ctx context.Context, log *slog.Logger, registry prometheus.Registerer) (*record.DB, error) {
	if s.PostgresURL == "" {
		return nil, nil //nolint:nilnil // none is a setting
	}
	return s.openWith(ctx, record.Options{AuditRetention: s.AuditRetention, Logger: log, Registerer: registry})
}

func (s *postgresSettings) openWith(ctx context.Context, o record.Options) (*record.DB, error) {
	o.URL = s.PostgresURL
	db, err := record.Open(ctx, o)
	if err != nil {
		return nil, usageError{fmt.Errorf("POSTGRES_URL (--postgres-url): %w", err)}
	}
	return db, nil
}

// connect makes the system of record of a command of the CLI; nil if there is none. It does not ask PostgreSQL, because
// what only reads may do without. A change is in Redis when the command ends, unless Redis does not take it.
func (s *postgresSettings) connect(ctx context.Context) (*record.DB, error) {
	if s.PostgresURL == "" {
		return nil, nil //nolint:nilnil // none is a setting
	}
	return s.openWith(ctx, record.Options{RelayWait: answerTimeout})
}

// need is connect for a command that cannot do without PostgreSQL. It fails at once if PostgreSQL does not answer.
func (s *postgresSettings) need(ctx context.Context) (*record.DB, error) {
	if s.PostgresURL == "" {
		return nil, usageError{errors.New("this needs PostgreSQL: set POSTGRES_URL or --postgres-url, such as postgres://user:password@host:5432/database")}
	}
	db, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	if err := db.Ping(ctx); err != nil {
		db.Close()
		return nil, fmt.Errorf("reach PostgreSQL at %s: %w; is it running, and is --postgres-url or POSTGRES_URL right?", db.Address(), err)
	}
	return db, nil
}

// relayed runs f while changes are carried to Redis, so that they are in force when the command ends.
func relayed(ctx context.Context, relay func(context.Context), f func() error) error {
	ctx, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { relay(ctx) })
	defer wg.Wait()
	defer stop()
	return f()
}
