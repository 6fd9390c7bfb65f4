// Package telemetry lets a service see what its store does: [NewTracer] makes OpenTelemetry spans, [NewCollector] gives
// Prometheus its metrics. Each works alone; together they are joined by pgx's multitracer:
//
//	collector := telemetry.NewCollector()
//	config.Tracer = multitracer.New(telemetry.NewTracer(nil), collector)
//	manager, err := store.Open(ctx, config)
//	if err != nil {
//		return err
//	}
//	collector.Watch(manager)
//	prometheus.MustRegister(collector)
//
// It is a module of its own, so that a service which wants neither has nothing to do with their modules.
package telemetry
