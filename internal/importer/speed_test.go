package importer_test

import (
	"flag"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

var speedMessages = flag.Int("messages", 20_000, "messages of the file that BenchmarkImport makes")

// BenchmarkImport imports a file of many messages and compares the rate with that of psql's \copy of the same rows into the
// same tables, both without and with verification. Memory is the most that the process ever had:
//
//	go test ./internal/importer -run '^$' -bench Import -benchtime 1x -timeout 1h -messages 2000000
func BenchmarkImport(b *testing.B) {
	psql, err := exec.LookPath("psql")
	if err != nil {
		b.Skip("psql is not installed")
	}
	file := legacytest.New(b, 3)
	file.Exec(`INSERT INTO sessions (id, purpose, created_by, created_at, updated_at)
		WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ? / 100)
		SELECT printf('session_%016x', i), 'purpose', 'agent', 1755906515.25 + i, 1755906515 + i FROM n`, *speedMessages)
	file.Exec(`INSERT INTO messages (id, session_id, sender, sender_type, content, metadata, timestamp, parent_message_id)
		WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		SELECT i, printf('session_%016x', (i - 1) / 100), 'agent_' || i % 50, 'claude', 'message ' || hex(randomblob(150)),
			CASE WHEN i % 3 > 0 THEN printf('{"commit": "%s", "lines": %d}', hex(randomblob(6)), i % 100) END, 1755906515.123456 + i,
			CASE WHEN i % 100 > 0 AND i % 4 = 0 THEN i - 1 END
		FROM n`, *speedMessages)
	file.Close()
	var before syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		config := storetest.Config(b)
		ctx, manager := storetest.Open(b, config)
		begin := time.Now()
		result, err := importer.Import(ctx, manager, file.Path, importer.Options{Report: filepath.Join(b.TempDir(), "report"), Progress: importer.Silent{}})
		if err != nil || !result.Pass {
			b.Fatalf("%v, %+v", err, result)
		}
		whole := time.Since(begin).Seconds()
		var after syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
			b.Fatal(err)
		}

		plain := storetest.Config(b)
		run := func(url string, commands ...string) {
			args := []string{"--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", url}
			for _, command := range commands {
				args = append(args, "--command", command)
			}
			if out, err := exec.Command(psql, args...).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
		sessions, messages := filepath.Join(b.TempDir(), "sessions"), filepath.Join(b.TempDir(), "messages")
		run(config.URL, `\copy sessions to `+sessions, `\copy (SELECT * FROM messages ORDER BY id) to `+messages)
		run(plain.URL, `\copy sessions from `+sessions, "ANALYZE sessions")
		begin = time.Now()
		run(plain.URL, `\copy messages from `+messages)
		copied := time.Since(begin).Seconds()

		rows := float64(*speedMessages)
		b.ReportMetric(rows/result.CopySeconds, "imported/s")
		b.ReportMetric(rows/whole, "verified/s")
		b.ReportMetric(rows/copied, "psql/s")
		b.ReportMetric(copied/result.CopySeconds, "imported/psql")
		b.ReportMetric(copied/whole, "verified/psql")
		b.ReportMetric(float64(before.Maxrss)/1024, "MB-before")
		b.ReportMetric(float64(after.Maxrss)/1024, "MB-after")
		b.ReportMetric(0, "ns/op")
	}
}
