package storetest

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/sharedcontext/sharedcontext/v2/internal/pgbouncer"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// pooler is the PgBouncer of this process, started at the first call. It ends with the process.
var pooler = sync.OnceValues(func() (*pgbouncer.Pooler, error) {
	server, err := connected()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return pgbouncer.Start(ctx, pgbouncer.Options{
		Server: server.maintenance,
		// A server connection that no test uses any more goes away soon, as one without a pooler does at once.
		Settings: map[string]string{"server_idle_timeout": "1"},
	})
})

// pooled leads a configuration through the pooler, where STORETEST_PGBOUNCER says so.
func pooled(config store.Config, database string) (store.Config, error) {
	text := os.Getenv("STORETEST_PGBOUNCER")
	if text == "" {
		return config, nil
	}
	wanted, err := strconv.ParseBool(text)
	if err != nil {
		return config, fmt.Errorf("STORETEST_PGBOUNCER=%q is neither true nor false", text)
	}
	if !wanted {
		return config, nil
	}
	p, err := pooler()
	if err != nil {
		return config, fmt.Errorf("STORETEST_PGBOUNCER: %w", err)
	}
	config.DirectURL = config.URL
	config.URL = p.URL(database) + "&pgbouncer=true"
	return config, nil
}
