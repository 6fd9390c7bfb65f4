package telemetry

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// Collector is a Prometheus collector of one manager, and the tracer by which it hears of the statements. [NewCollector]
// makes one.
type Collector struct {
	names     statementNames
	durations *prometheus.HistogramVec
	errors    *prometheus.CounterVec
	byName    sync.Map // from the name of an operation to its *series
	manager   atomic.Pointer[store.Manager]
}

// series are the metrics of one operation.
type series struct {
	duration prometheus.Observer
	errors   map[string]prometheus.Counter // by kind
}

var (
	_ prometheus.Collector  = (*Collector)(nil)
	_ pgx.QueryTracer       = (*Collector)(nil)
	_ pgx.CopyFromTracer    = (*Collector)(nil)
	_ pgx.ConnectTracer     = (*Collector)(nil)
	_ pgxpool.AcquireTracer = (*Collector)(nil)
)

// buckets are the upper bounds of durations in seconds: from a read of a warm cache on the same machine to the default of
// statement_timeout.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// NewCollector returns a collector of one manager. It belongs into the field Tracer of [store.Config], into a Prometheus
// registry, and is told the manager by [Collector.Watch]. Several managers have a collector each, registered with a label
// of their own by prometheus.WrapRegistererWith.
//
// Its metrics, with times in seconds:
//
//	sharedcontext_operation_duration_seconds{operation}   histogram
//	sharedcontext_operation_errors_total{operation,kind}  counter
//	sharedcontext_pool_connections{state}                 gauge: idle, in_use, opening
//	sharedcontext_pool_max_connections                    gauge
//	sharedcontext_pool_acquires_total                     counter: connections that were given out
//	sharedcontext_pool_waits_total                        counter: of these, how many were waited for
//	sharedcontext_pool_wait_seconds_total                 counter: for how long in all
//	sharedcontext_pool_abandoned_waits_total              counter: waits that ended without a connection
//
// An operation is a statement of the store, such as "MessageAdd" for AddMessage; "BEGIN" and "COMMIT" of InTx; "acquire",
// waiting for a connection from the pool; and "connect", making one. A statement of the service's own is counted by its
// first word, such as "SELECT", or as sqlc names it if that is one of statements: "CartAdd" for "-- name: CartAdd :one". A
// kind of error is connection, timeout, cancelled, conflict (a serialization failure or deadlock), schema, resources (the
// server is out of disk space or memory) or other. Neither label has values that a caller of the store can choose. What
// the store refuses by itself, an unknown session for instance, is no error here.
func NewCollector(statements ...string) *Collector {
	c := &Collector{
		names: newStatementNames(statements),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "sharedcontext_operation_duration_seconds",
			Help:    "How long statements took, waiting for a connection and connecting, successful or not.",
			Buckets: buckets,
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sharedcontext_operation_errors_total",
			Help: "Operations that failed, by the kind of error.",
		}, []string{"operation", "kind"}),
	}
	c.of(acquireName)
	c.of(connectName)
	return c
}

// of returns the metrics of an operation. All kinds of errors begin with 0, so that the first one is seen to increase.
func (c *Collector) of(name string) *series {
	if found, ok := c.byName.Load(name); ok {
		return found.(*series)
	}
	made := &series{duration: c.durations.WithLabelValues(name), errors: make(map[string]prometheus.Counter, len(kinds))}
	for _, kind := range kinds {
		made.errors[kind] = c.errors.WithLabelValues(name, kind)
	}
	c.byName.Store(name, made) // another that was made at the same time has the same metrics
	return made
}

// Watch adds the pool of a manager to the metrics, in the place of the one that was watched before.
func (c *Collector) Watch(manager *store.Manager) { c.manager.Store(manager) }

var (
	connectionsDesc    = poolDesc("connections", "Connections of the pool by their state.", "state")
	maxConnectionsDesc = poolDesc("max_connections", "How many connections the pool may hold.")
	acquiresDesc       = poolDesc("acquires_total", "Connections that the pool gave out.")
	waitsDesc          = poolDesc("waits_total", "Connections that the pool gave out after a wait, as none was idle.")
	waitSecondsDesc    = poolDesc("wait_seconds_total", "How long was waited for connections that the pool then gave out.")
	abandonedDesc      = poolDesc("abandoned_waits_total", "Waits for a connection that ended without one.")
)

func poolDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("sharedcontext_pool_"+name, help, labels, nil)
}

// Describe implements [prometheus.Collector].
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	c.durations.Describe(descs)
	c.errors.Describe(descs)
	for _, desc := range []*prometheus.Desc{
		connectionsDesc, maxConnectionsDesc, acquiresDesc, waitsDesc, waitSecondsDesc, abandonedDesc,
	} {
		descs <- desc
	}
}

// Collect implements [prometheus.Collector]. It asks no server.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	c.durations.Collect(metrics)
	c.errors.Collect(metrics)
	manager := c.manager.Load()
	if manager == nil {
		return
	}
	stats := manager.Stats()
	gauge := func(desc *prometheus.Desc, value int, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	counter := func(desc *prometheus.Desc, value float64) {
		metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, value)
	}
	gauge(connectionsDesc, stats.Idle, "idle")
	gauge(connectionsDesc, stats.InUse, "in_use")
	gauge(connectionsDesc, stats.OpenConnections-stats.Idle-stats.InUse, "opening")
	gauge(maxConnectionsDesc, stats.MaxConnections)
	counter(acquiresDesc, float64(stats.Acquired))
	counter(waitsDesc, float64(stats.Waits))
	counter(waitSecondsDesc, stats.WaitDuration.Seconds())
	counter(abandonedDesc, float64(stats.Canceled))
}

// operation is one that has begun.
type operation struct {
	name  string
	start time.Time
}

type operationKey struct{}

func begin(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, operationKey{}, &operation{name, time.Now()})
}

// end counts the operation that ctx is of.
func (c *Collector) end(ctx context.Context, err error) {
	done, found := ctx.Value(operationKey{}).(*operation)
	if !found {
		return
	}
	operation := c.of(done.name)
	operation.duration.Observe(time.Since(done.start).Seconds())
	if err != nil {
		operation.errors[kindOf(reason(ctx, err))].Inc()
	}
}

// TraceQueryStart implements [pgx.QueryTracer].
func (c *Collector) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	return begin(ctx, c.names.of(data.SQL))
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (c *Collector) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	c.end(ctx, data.Err)
}

// TraceCopyFromStart implements [pgx.CopyFromTracer].
func (c *Collector) TraceCopyFromStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceCopyFromStartData) context.Context {
	return begin(ctx, copyName)
}

// TraceCopyFromEnd implements [pgx.CopyFromTracer].
func (c *Collector) TraceCopyFromEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceCopyFromEndData) {
	c.end(ctx, data.Err)
}

// TraceConnectStart implements [pgx.ConnectTracer].
func (c *Collector) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return begin(ctx, connectName)
}

// TraceConnectEnd implements [pgx.ConnectTracer].
func (c *Collector) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	c.end(ctx, data.Err)
}

// TraceAcquireStart implements [pgxpool.AcquireTracer].
func (c *Collector) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	return begin(ctx, acquireName)
}

// TraceAcquireEnd implements [pgxpool.AcquireTracer].
func (c *Collector) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	c.end(ctx, data.Err)
}
