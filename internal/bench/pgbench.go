package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// ErrNoPgbench says that the program pgbench is not installed.
var ErrNoPgbench = errors.New("pgbench is not installed: it comes with PostgreSQL, on Debian in the package postgresql-contrib or postgresql")

// FindPgbench returns the path of pgbench: from PATH, else from where Debian and its like install the newest PostgreSQL.
func FindPgbench() (string, error) {
	if path, err := exec.LookPath("pgbench"); err == nil {
		return path, nil
	}
	paths, err := filepath.Glob("/usr/lib/postgresql/*/bin/pgbench")
	if err != nil || len(paths) == 0 {
		return "", ErrNoPgbench
	}
	slices.SortFunc(paths, func(a, b string) int { return len(a) - len(b) })
	return paths[len(paths)-1], nil
}

// Comparison is the store beside pgbench, which sends the same statement, in turns.
type Comparison struct {
	Agents  int       `json:"agents"`
	Store   []float64 `json:"store_adds_per_second"`
	Pgbench []float64 `json:"pgbench_transactions_per_second"`
	// Ratio is the median of the store divided by that of pgbench.
	Ratio float64 `json:"ratio"`
}

// Compare lets agents add messages through the store, then as many clients of pgbench send the very same statement, in
// turns, as often as rounds says, each with a session of its own. Both have as many connections as there are agents, but
// no more than the manager has.
func Compare(ctx context.Context, config store.Config, manager *store.Manager, program string, agents, rounds int, duration time.Duration) (Comparison, error) {
	c := Comparison{Agents: agents}
	for range rounds {
		report, err := Run(ctx, manager, Options{Agents: agents, Mix: []Share{{"add", 1}}, Duration: duration})
		if err == nil && len(report.Errors) > 0 {
			err = fmt.Errorf("bench: operations failed: %v", report.Errors)
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return c, err
		}
		c.Store = append(c.Store, report.PerSecond)
		perSecond, err := runPgbench(ctx, config, program, min(agents, manager.Stats().MaxConnections), duration)
		if err != nil {
			return c, err
		}
		c.Pgbench = append(c.Pgbench, perSecond)
	}
	c.Ratio = median(c.Store) / median(c.Pgbench)
	return c, nil
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// sent is a statement as the store has sent it, and where to.
type sent struct {
	sql  string
	args []any
	to   *pgx.ConnConfig
}

func (s *sent) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.sql, s.args, s.to = data.SQL, data.Args, conn.Config()
	return ctx
}

func (s *sent) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// runPgbench has clients add messages to a session of their own and returns how many they added a second.
func runPgbench(ctx context.Context, config store.Config, program string, clients int, duration time.Duration) (perSecond float64, err error) {
	statement := new(sent)
	config.Tracer = statement
	config.NotifyInterval = -1 // its statements come beside those to record
	config.PoolSize, config.MaxConnections, config.MinConnections = 1, 1, -1
	manager, err := store.Open(ctx, config)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, manager.Close(context.WithoutCancel(ctx))) }()
	session, err := manager.CreateSession(ctx, store.CreateSessionParams{Purpose: "sharedcontext bench", CreatedBy: "bench-pgbench"})
	if err != nil {
		return 0, err
	}
	defer func() {
		deleting, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout)
		defer cancel()
		err = errors.Join(err, manager.DeleteSession(deleting, session.ID, "bench-pgbench"))
	}()
	_, err = manager.AddMessage(ctx, session.ID, store.NewMessage{Sender: "bench-pgbench", SenderType: "claude", Content: remarks[0] + " " + remarks[1]})
	if err != nil {
		return 0, err
	}
	script, variables, err := statement.script()
	if err != nil {
		return 0, err
	}
	file, err := os.CreateTemp("", "sharedcontext-*.sql")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // a leftover of a few hundred bytes
	if _, err := file.WriteString(script); err != nil {
		return 0, err
	}
	if err := file.Close(); err != nil {
		return 0, err
	}
	seconds := max(1, int(duration.Seconds()))
	args := append([]string{
		"--no-vacuum", "--protocol=prepared", "--client=" + strconv.Itoa(clients), "--jobs=" + strconv.Itoa(min(2, clients)),
		"--time=" + strconv.Itoa(seconds), "--file=" + file.Name(),
	}, variables...)
	command := exec.CommandContext(ctx, program, args...) //nolint:gosec // a program of PostgreSQL with values of this package
	// The password is not shown in the list of processes.
	command.Env = append(os.Environ(), "PGHOST="+statement.to.Host, "PGPORT="+strconv.Itoa(int(statement.to.Port)),
		"PGUSER="+statement.to.User, "PGPASSWORD="+statement.to.Password, "PGDATABASE="+statement.to.Database)
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	if err := command.Run(); err != nil {
		return 0, fmt.Errorf("bench: pgbench: %w: %s", err, strings.TrimSpace(problems.String()))
	}
	return parsePgbench(output.String())
}

var (
	parameter = regexp.MustCompile(`\$(\d+)`)
	rate      = regexp.MustCompile(`(?m)^tps = ([0-9.]+) \(without initial connection time\)`)
)

// script returns the statement with variables of pgbench for its parameters, and the arguments that set them. One that is
// NULL, for which pgbench has no value, becomes so in the statement, whose plan stays that of the store.
func (s *sent) script() (script string, variables []string, err error) {
	sql := s.sql
	if strings.HasPrefix(sql, "--") { // its name, in which pgbench would see a variable
		_, sql, _ = strings.Cut(sql, "\n")
	}
	null := make([]bool, len(s.args)+1)
	for i, arg := range s.args {
		value, isText := arg.(string)
		if shown := fmt.Sprint(arg); shown == "<nil>" || shown == "[]" { // a nil pointer, no metadata
			null[i+1], value = true, "none"
		} else if !isText {
			return "", nil, fmt.Errorf("bench: parameter $%d of the statement is a %T", i+1, arg)
		}
		variables = append(variables, fmt.Sprintf("--define=p%d=%s", i+1, value))
	}
	script = parameter.ReplaceAllStringFunc(sql, func(found string) string {
		n, err := strconv.Atoi(found[1:])
		if err != nil || n >= len(null) {
			return found
		}
		if null[n] {
			return fmt.Sprintf("nullif(:p%d, 'none')", n)
		}
		return fmt.Sprintf(":p%d", n)
	})
	return strings.TrimRight(script, "; \n") + ";\n", variables, nil
}

func parsePgbench(output string) (float64, error) {
	found := rate.FindStringSubmatch(output)
	if found == nil {
		return 0, fmt.Errorf("bench: pgbench printed no rate: %.300s", output)
	}
	return strconv.ParseFloat(found[1], 64)
}
