// Command sizelatency measures, in the database that DATABASE_URL names, how long hot operations take with ever more
// messages stored, up to each of the sizes given. It prints Markdown, and draws a plot (SVG) where a file is named. What it
// has loaded stays; `sharedcontext load --remove` takes it back.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/internal/load"
	"github.com/sharedcontext/sharedcontext/v2/store"
)

// messagesPerSession stays the same while the number of sessions grows.
const messagesPerSession = 1000

// sessionsInUse are as many as the smallest number of messages fills.
const sessionsInUse = 10

var (
	alice = store.Reader{AgentID: "alice", AgentType: "claude"}
	admin = store.Reader{AgentID: "root", Admin: true}
)

// operation is one that is measured; each call gets another session.
type operation struct {
	name string
	call func(ctx context.Context, m *store.Manager, session string, end store.MessageCursor) error
}

var operations = []operation{
	{"add", func(ctx context.Context, m *store.Manager, session string, _ store.MessageCursor) error {
		_, err := m.AddMessage(ctx, session, store.NewMessage{Sender: "alice", Content: "The lexer splits the statement in one pass."})
		return err
	}},
	{"newest page", func(ctx context.Context, m *store.Manager, session string, _ store.MessageCursor) error {
		_, err := m.GetSession(ctx, session, alice)
		return err
	}},
	{"poll after a cursor", func(ctx context.Context, m *store.Manager, session string, end store.MessageCursor) error {
		_, err := m.GetMessages(ctx, store.GetMessagesParams{SessionID: session, Reader: alice, After: &end})
		return err
	}},
	{"get memory", func(ctx context.Context, m *store.Manager, _ string, _ store.MessageCursor) error {
		_, err := m.GetMemory(ctx, store.GetMemoryParams{AgentID: "alice", Key: "plan"})
		return err
	}},
	{"search, recent window", func(ctx context.Context, m *store.Manager, session string, _ store.MessageCursor) error {
		_, err := m.SearchContext(ctx, store.SearchContextParams{SessionID: session, Reader: alice, Query: "statement in oen pass"})
		return err
	}},
}

// rows are what the table shows: each operation in a few sessions that are in use, whatever else is stored, and then with
// each call in another of all the sessions, of which the processor's and the server's memory hold ever less.
var rows = func() (names []string) {
	for _, where := range []string{fmt.Sprintf("%d sessions in use", sessionsInUse), "any session"} {
		for _, operation := range operations {
			names = append(names, operation.name+", "+where)
		}
	}
	return names
}()

func main() {
	sizes := flag.String("sizes", "10000,1000000,10000000", "numbers of messages, growing")
	calls := flag.Int("calls", 2000, "calls of each operation at each size")
	plot := flag.String("plot", "", "file for a plot, for instance docs/latency-by-size.svg")
	flag.Parse()
	if err := run(context.Background(), *sizes, *calls, *plot); err != nil {
		fmt.Fprintln(os.Stderr, "sizelatency:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, list string, calls int, plot string) (err error) {
	var sizes []int
	for text := range strings.SplitSeq(list, ",") {
		size, err := strconv.Atoi(text)
		if err != nil || size < sessionsInUse*messagesPerSession || len(sizes) > 0 && size <= sizes[len(sizes)-1] {
			return fmt.Errorf("-sizes %q: growing numbers from %d on are needed", list, sessionsInUse*messagesPerSession)
		}
		sizes = append(sizes, size)
	}
	config, err := store.ConfigFromEnv()
	if err != nil {
		return err
	}
	m, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close(ctx)) }()
	if _, err := m.SetMemory(ctx, store.SetMemoryParams{AgentID: "alice", Key: "plan", Value: "a short value"}); err != nil {
		return err
	}

	medians := make([][]time.Duration, len(rows)) // by row and size
	stored := 0
	var sessions []string
	for _, size := range sizes {
		missing := size - stored
		report, err := load.Fill(ctx, config.URL, load.Options{
			Messages: missing, Sessions: max(1, missing/messagesPerSession), Seed: uint64(size),
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%d messages more in %s, %.0f a second\n", missing, report.Duration.Round(time.Second), float64(missing)/report.Duration.Seconds())
		stored, sessions = size, append(sessions, report.Sessions...)
		few := make([]string, sessionsInUse) // of all ages
		for i := range few {
			few[i] = sessions[i*len(sessions)/len(few)]
		}
		var at []time.Duration
		for _, used := range [][]string{few, sessions} {
			times, err := measure(ctx, m, used, calls)
			if err != nil {
				return err
			}
			at = append(at, times...)
		}
		for i := range rows {
			medians[i] = append(medians[i], at[i])
		}
	}
	fmt.Print(table(sizes, medians))
	if plot != "" {
		return os.WriteFile(plot, []byte(drawing(sizes, medians)), 0o644) //nolint:gosec // a plot for everyone
	}
	return nil
}

// measure returns the median time of each operation. Calls of the operations alternate, so that what else the machine
// does meets all of them.
func measure(ctx context.Context, m *store.Manager, sessions []string, calls int) ([]time.Duration, error) {
	times := make([][]time.Duration, len(operations))
	for n := range calls + calls/10 { // the first tenth warms up
		session := sessions[n*7919%len(sessions)]
		newest, err := m.GetSession(ctx, session, admin)
		if err != nil {
			return nil, err
		}
		for i, operation := range operations {
			start := time.Now()
			if err := operation.call(ctx, m, session, newest.Messages[0].Cursor()); err != nil {
				return nil, fmt.Errorf("%s: %w", operation.name, err)
			}
			if n >= calls/10 {
				times[i] = append(times[i], time.Since(start))
			}
		}
	}
	medians := make([]time.Duration, len(operations))
	for i := range times {
		slices.Sort(times[i])
		medians[i] = times[i][len(times[i])/2]
	}
	return medians, nil
}

// table writes the medians in microseconds, and the last as a multiple of the first.
func table(sizes []int, medians [][]time.Duration) string {
	var b strings.Builder
	b.WriteString("| median, in microseconds, with messages |")
	for _, size := range sizes {
		fmt.Fprintf(&b, " %d |", size)
	}
	b.WriteString(" ratio |\n|---|" + strings.Repeat("---|", len(sizes)+1) + "\n")
	for i, row := range rows {
		fmt.Fprintf(&b, "| %s |", row)
		for _, median := range medians[i] {
			fmt.Fprintf(&b, " %d |", median.Microseconds())
		}
		fmt.Fprintf(&b, " %.2f |\n", float64(medians[i][len(sizes)-1])/float64(medians[i][0]))
	}
	return b.String()
}
