package main

import (
	"context"
	"os/signal"
	"syscall"
	"time"
)

// closeTimeout bounds what happens after the work: giving connections back, stopping a server.
const closeTimeout = 30 * time.Second

// interruptible returns a context that ends at SIGINT or SIGTERM. From then on these have their usual effect, so that a
// second one ends the program at once.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
