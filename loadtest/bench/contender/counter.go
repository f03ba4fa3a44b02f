package contender

import (
	"context"
	"net"

	"github.com/redis/go-redis/v9"
)

// counter counts what a client sends to Redis.
type counter struct{ e *env }

// DialHook implements redis.Hook.
func (counter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (c counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.e.redisCommands.Add(1)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements redis.Hook.
func (c counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.e.redisCommands.Add(int64(len(cmds)))
		return next(ctx, cmds)
	}
}
