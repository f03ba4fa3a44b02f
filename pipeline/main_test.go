package pipeline

import (
	"testing"

	"go.uber.org/goleak"

	"arrakis/loadtest/testserver"
)

func TestMain(m *testing.M) {
	testserver.WaitTogether()
	goleak.VerifyTestMain(m, testserver.NATSLeaks()...)
}
