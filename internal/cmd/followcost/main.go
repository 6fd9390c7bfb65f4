// Command followcost measures, in the database that DATABASE_URL names, what following a session costs its writers and how
// long a message takes to its followers. Phases without and with followers alternate, so that what else the machine does
// meets both. It prints Markdown.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sharedcontext/sharedcontext/v2/store"
)

// sampled is of how many messages one is timed, so that the clock does not cost more than what it measures.
const sampled = 16

// options are what the flags say.
type options struct {
	writers, followers, rounds int
	phase, pause               time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.writers, "writers", 20, "agents that add messages to one session")
	flag.IntVar(&o.followers, "followers", 20, "agents that follow it")
	flag.IntVar(&o.rounds, "rounds", 5, "how often to measure without and with followers")
	flag.DurationVar(&o.phase, "phase", 5*time.Second, "how long to measure each time")
	flag.DurationVar(&o.pause, "pause", 10*time.Millisecond, "between two messages where the delay is measured of one writer")
	flag.Parse()
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "followcost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	config, err := store.ConfigFromEnv()
	if err != nil {
		return err
	}
	writer, err := store.Open(ctx, config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, writer.Close(ctx)) }()
	reader, err := store.Open(ctx, config) // as in another process
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, reader.Close(ctx)) }()

	var without, with []float64
	var busy []time.Duration
	for range o.rounds {
		rate, _, err := measure(ctx, writer, reader, o, 0, 0)
		if err != nil {
			return err
		}
		without = append(without, rate)
		rate, delays, err := measure(ctx, writer, reader, o, o.followers, 0)
		if err != nil {
			return err
		}
		with, busy = append(with, rate), append(busy, delays...)
	}
	calm := o
	calm.writers = 1
	_, quiet, err := measure(ctx, writer, reader, calm, o.followers, o.pause)
	if err != nil {
		return err
	}
	ratios := make([]float64, o.rounds)
	for i := range ratios {
		ratios[i] = with[i] / without[i]
	}
	fmt.Printf("| %d writers, %d followers | |\n|---|---|\n", o.writers, o.followers)
	fmt.Printf("| messages a second without followers, median | %.0f |\n", middle(without))
	fmt.Printf("| with followers, median | %.0f |\n", middle(with))
	fmt.Printf("| ratio, median of %d rounds | %.2f |\n", o.rounds, middle(ratios))
	fmt.Printf("| delay from commit to follower at that rate, p50, p99 | %s |\n", percentiles(busy))
	fmt.Printf("| delay with one writer, a message every %v, p50, p99 | %s |\n", o.pause, percentiles(quiet))
	return nil
}

// measure has agents write to a new session for one phase, and returns their rate and how long each message took from its
// commit to each follower.
func measure(ctx context.Context, writer, reader *store.Manager, o options, followers int, pause time.Duration) (rate float64, delays []time.Duration, err error) {
	session, err := writer.CreateSession(ctx, store.CreateSessionParams{Purpose: "cost of followers", CreatedBy: "followcost"})
	if err != nil {
		return 0, nil, err
	}
	// written and received hold the time at which message n was committed and came.
	var (
		mu       sync.Mutex
		written  = make(map[int64]time.Time)
		received = make([]map[int64]time.Time, followers)
		sent     atomic.Int64
		failed   atomic.Pointer[error]
	)
	fail := func(err error) { failed.CompareAndSwap(nil, &err) }

	following, stopFollowing := context.WithCancel(ctx)
	defer stopFollowing()
	var readers sync.WaitGroup
	have := make([]atomic.Int64, followers)
	for i := range followers {
		received[i] = make(map[int64]time.Time)
		readers.Go(func() {
			params := store.FollowParams{SessionID: session.ID, Reader: store.Reader{AgentID: "follower", AgentType: "claude"}}
			for event, err := range reader.Follow(following, params) {
				if following.Err() != nil {
					return
				}
				if err != nil {
					fail(err)
					return
				}
				if event.Message.ID%sampled == 0 {
					received[i][event.Message.ID] = time.Now()
				}
				have[i].Add(1)
			}
		})
	}

	writing, stopWriting := context.WithTimeout(ctx, o.phase)
	defer stopWriting()
	start := time.Now()
	var writers sync.WaitGroup
	for i := range o.writers {
		writers.Go(func() {
			sender := fmt.Sprint("writer-", i)
			for writing.Err() == nil && failed.Load() == nil {
				message, err := writer.AddMessage(ctx, session.ID, store.NewMessage{Sender: sender, Content: "The lexer splits the statement in one pass."})
				if err != nil {
					fail(err)
					return
				}
				sent.Add(1)
				if message.ID%sampled == 0 {
					now := time.Now()
					mu.Lock()
					written[message.ID] = now
					mu.Unlock()
				}
				if pause > 0 {
					<-time.After(pause)
				}
			}
		})
	}
	writers.Wait()
	elapsed := time.Since(start)
	for i := range followers {
		for have[i].Load() < sent.Load() && failed.Load() == nil {
			<-time.After(time.Millisecond)
		}
	}
	stopFollowing()
	readers.Wait()
	if err := failed.Load(); err != nil {
		return 0, nil, *err
	}
	for i := range followers {
		for id, at := range written {
			// A follower may have a message before its writer knows that it is committed.
			delays = append(delays, max(0, received[i][id].Sub(at)))
		}
	}
	return float64(sent.Load()) / elapsed.Seconds(), delays, nil
}

func middle(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func percentiles(delays []time.Duration) string {
	slices.Sort(delays)
	at := func(p int) time.Duration { return delays[len(delays)*p/100].Round(100 * time.Microsecond) }
	return fmt.Sprintf("%v, %v", at(50), at(99))
}
