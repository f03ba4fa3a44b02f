package main

import (
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"arrakis/pipeline/streams"
)

// natsFlags are the flags of every command that works on NATS.
type natsFlags struct {
	outputFlags
	natsSettings
}

func (f *natsFlags) validate(process) error { return f.natsSettings.validate() }

// withJetStream connects and runs do. It adds advice to the error of do.
func (f *natsFlags) withJetStream(do func(*nats.Conn, jetstream.JetStream) error) error {
	nc, err := connectNATS(&f.natsSettings)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	return streams.Explain(do(nc, js))
}
