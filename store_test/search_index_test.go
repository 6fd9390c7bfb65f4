package store_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/sharedcontext/sharedcontext/v2/internal/demo"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// setupConfig is setup for tests that need the configuration as well.
func setupConfig(tb testing.TB) (context.Context, fixture, store.Config) {
	tb.Helper()
	config := storetest.Config(tb)
	ctx, manager := storetest.Open(tb, config)
	return ctx, fixture{manager, newSession(ctx, tb, manager)}, config
}

func withMigrator(ctx context.Context, tb testing.TB, config store.Config, fn func(*store.Migrator) error) {
	tb.Helper()
	migrator, err := store.OpenMigrator(ctx, config)
	if err != nil {
		tb.Fatal(err)
	}
	if err := errors.Join(fn(migrator), migrator.Close()); err != nil {
		tb.Fatal(err)
	}
}

func buildSearchIndex(ctx context.Context, tb testing.TB, config store.Config) {
	tb.Helper()
	withMigrator(ctx, tb, config, func(m *store.Migrator) error { return m.BuildSearchIndex(ctx) })
}

// corpus returns different messages of real text and of other scripts, in the order of the transcript.
func corpus(tb testing.TB) []store.NewMessage {
	tb.Helper()
	transcript, err := demo.ReadTranscriptFile(filepath.Join("..", "..", "shared", "data", "transcript.jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		tb.Log("without the transcript: its texts are those of the demo's sample")
		transcript, err = demo.Sample()
	}
	if err != nil {
		tb.Fatal(err)
	}
	var messages []store.NewMessage
	for _, entry := range transcript.Entries {
		message := store.NewMessage{Sender: entry.Sender, SenderType: entry.SenderType, Visibility: store.Visibility(entry.Visibility), Content: entry.Content, Admin: true}
		if entry.Metadata != nil {
			message.Metadata = entry.Metadata
		}
		messages = append(messages, message)
	}
	for _, content := range []string{
		"Привет, мир! Проверка подлинности завершилась ошибкой", "Η αυθεντικοποίηση απέτυχε για τον χρήστη", "认证失败：令牌已过期，请重新登录。",
		"トークンの有効期限が切れています", "फिर से लॉग इन करें", "أعد تسجيل الدخول من فضلك", "naïve café façade Ångström ŒUVRE", "!!! ??? ### --- >>>", "😀😃😄 🚀🚀 done",
		"100% of 1_000 files \\ copied", "ok", "no", "id 4711", "ping", "İstanbul ve Kelvin",
	} {
		messages = append(messages, store.NewMessage{Sender: "bob", Content: content})
	}
	return messages
}

// copies fills the session with size messages, the corpus again and again, a millisecond apart, and returns their ids in
// order.
func (f fixture) copies(ctx context.Context, tb testing.TB, corpus []store.NewMessage, size int) []store.Message {
	tb.Helper()
	start := time.Now().UTC().Truncate(time.Second).Add(-time.Hour - time.Duration(size)*time.Millisecond)
	messages := make([]store.Message, size)
	for i := range messages {
		message := &corpus[i%len(corpus)]
		metadata, _ := message.Metadata.(json.RawMessage)
		messages[i] = store.Message{
			ID: int64(i) + 1, SessionID: f.session.ID, Sender: message.Sender, SenderType: cmp.Or(message.SenderType, "generic"), Content: message.Content,
			Visibility: cmp.Or(message.Visibility, store.VisibilityPublic), MessageType: store.MessageTypeAgentResponse,
			Metadata: metadata, Timestamp: start.Add(time.Duration(i) * time.Millisecond),
		}
	}
	columns := []string{"id", "session_id", "sender", "sender_type", "content", "visibility", "metadata", "timestamp"}
	source := pgx.CopyFromSlice(size, func(i int) ([]any, error) {
		m := &messages[i]
		return []any{m.ID, m.SessionID, m.Sender, m.SenderType, m.Content, string(m.Visibility), m.Metadata, m.Timestamp}, nil
	})
	err := store.GetDBConnection(ctx, func(ctx context.Context, conn *store.Conn) error {
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"messages"}, columns, source); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "SELECT setval('messages_id_seq', $1)", size)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return messages
}

// searchQueries returns queries of all kinds: parts of messages as they are and with typing errors, and others.
func searchQueries(corpus []store.NewMessage, size int) []string {
	random := rand.New(rand.NewPCG(1, 2))
	queries := []string{
		"a", "é", "7", "!", "ok", "no", "id", "ж", "认证", "😀", "ping", "pnig", "the", "...", "!!! ???", "-- >>", "100%", "1_000", "\\ cop", "4711", "2023-11-08", "0.1.2",
		"привет", "ПРОВЕРКА ПОДЛИНОСТИ", "αυθεντικοποιηση απετυχε", "令牌已过期", "令牌过期", "トークンの期限", "लॉग इन", "تسجيل الدخول", "naive cafe facade", "ŒUVRE ångstrom", "istanbul", "kelvin", "🚀🚀 don",
		"authentication token expired", "athentication tokn", "nobody ever wrote this sentence", "zzzzzzzzzz", "qwxz vkjq", "graceful shutdwon", "error handling in the migration", strings.Repeat("unlikely long query ", 8),
	}
	for len(queries) < size {
		content := []rune(corpus[random.IntN(len(corpus))].Content)
		length := min(len(content), 3+random.IntN(38))
		begin := random.IntN(len(content) - length + 1)
		query := append([]rune(nil), content[begin:begin+length]...)
		for range random.IntN(4) {
			i := random.IntN(len(query))
			switch random.IntN(3) {
			case 0:
				query[i] = rune('a' + random.IntN(26))
			case 1:
				query = append(query[:i], query[i+1:]...)
			case 2:
				query = append(query[:i], append([]rune{rune('a' + random.IntN(26))}, query[i:]...)...)
			}
			if len(query) == 0 {
				break
			}
		}
		if query := strings.TrimSpace(strings.Map(printable, string(query))); query != "" {
			queries = append(queries, query)
		}
	}
	return queries
}

func printable(r rune) rune {
	if unicode.IsControl(r) {
		return ' '
	}
	return r
}

// A search of the whole history gives what brute force gives: for parts of messages as they are and with typing errors,
// for short ones, punctuation, numbers, other scripts, and words that nobody wrote. SEARCH_MESSAGES sets how many messages
// there are; the comparison takes the same time for a million.
func TestSearchAllMatchesBruteForce(t *testing.T) {
	t.Parallel()
	needsOwner(t, "copies rows, which row-level security does not let a service do")
	size := 3000
	if text := os.Getenv("SEARCH_MESSAGES"); text != "" {
		var err error
		if size, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	// Each text stands in the session a number of times, so that there are ten good answers to a good question.
	different := corpus(t)
	if most := size / 20; len(different) > most {
		different = different[len(different)-most:]
	}
	config := storetest.Config(t)
	config.StatementTimeout = -1 // a million messages take their time
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	messages := f.copies(ctx, t, different, size)
	buildSearchIndex(ctx, t, config)
	// Messages that are newer than the index are found as well.
	newer := f.add(ctx, t, different[:20]...)
	messages = append(messages, newer...)

	indexed := 0
	for _, query := range searchQueries(different, 220) {
		reader := alice
		if len(query)%4 == 0 {
			reader = admin
		}
		got, err := f.SearchContext(ctx, store.SearchContextParams{SessionID: f.session.ID, Reader: reader, Query: query, Window: store.SearchWindowAll})
		if err != nil {
			t.Fatal(err)
		}
		if got.Indexed {
			indexed++
		}
		want := bruteForceCopies(messages, different, reader, query)
		if diff := gocmp.Diff(want, got.Results, jsonValue); diff != "" {
			t.Errorf("%q, indexed %v (-want +got):\n%s", query, got.Indexed, diff)
		}
	}
	if indexed < 40 {
		t.Errorf("the index served %d queries", indexed)
	}
	t.Logf("the index served %d queries, the others needed the whole history or only the latest messages", indexed)
}

// The statements that ask the search index are planned with their values, without which the server cannot know that the
// index holds what they look for. A policy of row-level security that is not always true would keep a service from it.
func TestSearchIndexPlan(t *testing.T) {
	t.Parallel()
	config := storetest.Service(t, storetest.Config(t))
	var like, short statement
	config.Tracer = traceFunc(func(data pgx.TraceQueryStartData) {
		for name, statement := range map[string]*statement{"MessageSearchLike": &like, "MessageSearchShort": &short} {
			if strings.Contains(data.SQL, name+" ") {
				statement.sql, statement.args = data.SQL, slices.DeleteFunc(slices.Clone(data.Args), func(arg any) bool {
					_, isMode := arg.(pgx.QueryExecMode)
					return isMode
				})
			}
		}
	})
	ctx, m := storetest.Open(t, config)
	f := fixture{m, newSession(ctx, t, m)}
	different := corpus(t)
	asOwner := config
	asOwner.URL, asOwner.Tracer = config.DirectURL, nil
	ownerCtx, _ := storetest.Open(t, asOwner) // COPY knows no row-level security
	f.copies(ownerCtx, t, append(different[:len(different):len(different)], store.NewMessage{Sender: "bob", Content: "The zyzzyva ate my quokka at dawn."}), 20_000)
	buildSearchIndex(ctx, t, config)
	if _, err := f.SearchContext(ctx, store.SearchContextParams{
		SessionID: f.session.ID, Reader: alice, Query: "zyzzyva ate my quokka", Window: store.SearchWindowAll, Threshold: ptr(100.0),
	}); err != nil {
		t.Fatal(err)
	}
	conn := connect(t, config)
	for name, statement := range map[string]statement{"idx_messages_search_text_": like, "idx_messages_search_short_": short} {
		for _, role := range []string{"ROLE none", serviceRole(config)} {
			plan, text := explain(t, conn, statement, "", "plan_cache_mode = force_custom_plan", role)
			if problems := (hotQuery{pages: 400, sorted: 0}).problems(plan); len(problems) > 0 || !strings.Contains(text, name) {
				t.Errorf("%s: %s is not used, or %s\n%s", role, name, strings.Join(problems, "; "), text)
			}
		}
	}
	withMigrator(ctx, t, config, func(m *store.Migrator) error { return m.DropSearchIndex(ctx) })
	if plan, text := explain(t, conn, like, "", "plan_cache_mode = force_custom_plan"); len((hotQuery{pages: 400}).problems(plan)) == 0 {
		t.Errorf("all seems well without the index\n%s", text)
	}
}

// traceFunc is called with each statement that is sent.
type traceFunc func(pgx.TraceQueryStartData)

func (trace traceFunc) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	trace(data)
	return ctx
}

func (traceFunc) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// What the patterns of the index cannot find is found beside it: texts that are no longer than the query, and more new
// messages than the first statement reads.
func TestSearchBesideIndex(t *testing.T) {
	t.Parallel()
	needsOwner(t, "copies rows, which row-level security does not let a service do")
	const query = "please restart the build server tonight"
	ctx, f, config := setupConfig(t)
	old := f.copies(ctx, t, []store.NewMessage{
		{Sender: "bob", Content: "Now please restart the build servr tonight, all of you"},
		{Sender: "t", Content: "the build server"}, // its text is not in the query, which has no t before it
		{Sender: "restart", Content: "the build server"},
		{Sender: "please", Content: "restart the build server tonighx"}, // as long as the query
		{Sender: "the", Content: "build servr"},
	}, 100)
	buildSearchIndex(ctx, t, config)
	newer := []store.NewMessage{{Sender: "bob", Content: "We should please restart the build server tonight."}}
	for len(newer) < 1000 {
		newer = append(newer, store.NewMessage{Sender: "bob", Content: "hay"})
	}
	all := append(old, f.add(ctx, t, newer...)...)
	all = append(all, f.add(ctx, t, newer[1:]...)...)
	for _, test := range []struct {
		query   string
		limit   int
		indexed bool
	}{
		{query, 1, false}, {query, 10, true}, {query, 30, true}, {query, 100, false}, {"quite another question", 10, false},
		{"restart the build servr tonight", 10, true}, // stands in long texts, and short ones in it
	} {
		got, err := f.SearchContext(ctx, store.SearchContextParams{
			SessionID: f.session.ID, Reader: alice, Query: test.query, Window: store.SearchWindowAll, Limit: test.limit,
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(bruteForce(newestFirst(all), test.query, 60, test.limit, true), got.Results, jsonValue); diff != "" {
			t.Errorf("%d results for %q (-want +got):\n%s", test.limit, test.query, diff)
		}
		if got.Indexed != test.indexed {
			t.Errorf("%d results for %q: indexed %v, want %v", test.limit, test.query, got.Indexed, test.indexed)
		}
	}
}

// bruteForceCopies is bruteForce for messages of which many are the same.
func bruteForceCopies(messages []store.Message, different []store.NewMessage, reader store.Reader, query string) []store.SearchResult {
	// Of each text only the newest copies can be among the results.
	const limit = 10
	copies := make(map[string]int, len(different))
	var candidates []store.Message
	for i := len(messages) - 1; i >= 0; i-- {
		message := messages[i]
		if !sees(reader, message) {
			continue
		}
		key := message.Sender + "\x00" + message.Content + "\x00" + string(message.Metadata)
		if copies[key]++; copies[key] <= limit {
			candidates = append(candidates, message)
		}
	}
	return bruteForce(candidates, strings.Map(printable, query), 60, limit, true)
}

// The index is built anew, used and dropped while it makes no difference to writers; taking the migration back drops it.
func TestSearchIndexLife(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	ctx, f, config := setupConfig(t)
	state := func() store.SearchIndex {
		t.Helper()
		index, err := f.SearchIndex(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return index
	}
	indexes := func() int64 {
		return count(ctx, t, "SELECT count(*) FROM pg_class WHERE relname LIKE 'idx\\_messages\\_search\\_%' AND relkind = 'i'")
	}
	if index := state(); index.Ready || indexes() != 0 {
		t.Errorf("a new database has the search index %+v", index)
	}
	buildSearchIndex(ctx, t, config)
	first := state()
	if !first.Ready || first.Bytes == 0 || first.Before.IsZero() || indexes() != 2 {
		t.Errorf("built: %+v, %d indexes", first, indexes())
	}
	// What an interrupted build leaves behind is dropped by the next, and so is the index before.
	if _, err := store.ExecuteUpdate(ctx, `UPDATE pg_index SET indisvalid = false WHERE indexrelid = (
		SELECT min(oid) FROM pg_class WHERE relname LIKE 'idx\_messages\_search\_text\_%')`); err != nil {
		t.Fatal(err)
	}
	if index := state(); index.Ready {
		t.Errorf("an index that is not complete is used: %+v", index)
	}
	buildSearchIndex(ctx, t, config)
	buildSearchIndex(ctx, t, config)
	if second := state(); !second.Ready || second.Before.Before(first.Before) || indexes() != 2 {
		t.Errorf("built again: %+v after %+v, %d indexes", second, first, indexes())
	}
	withMigrator(ctx, t, config, func(m *store.Migrator) error { return m.DropSearchIndex(ctx) })
	if index := state(); index.Ready || indexes() != 0 {
		t.Errorf("dropped: %+v, %d indexes", index, indexes())
	}
	buildSearchIndex(ctx, t, config)
	withMigrator(ctx, t, config, func(m *store.Migrator) error { return m.To(ctx, 12) })
	if n := indexes(); n != 0 {
		t.Errorf("without the migration there are %d indexes", n)
	}
	migrator, err := store.OpenMigrator(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer migrator.Close()
	if err := migrator.BuildSearchIndex(ctx); err == nil || !strings.Contains(err.Error(), "migrate up") {
		t.Errorf("on an old schema: %v", err)
	}
}

// Where pg_trgm cannot be installed, building the index says so and everything else works.
func TestSearchWithoutTrigrams(t *testing.T) {
	t.Parallel()
	needsOwner(t, "changes the schema")
	ctx, f, config := setupConfig(t)
	// A function of the extension that is there already keeps it from being installed.
	for _, sql := range []string{"CREATE SCHEMA extensions", "CREATE FUNCTION extensions.similarity(text, text) RETURNS real LANGUAGE sql RETURN 1"} {
		if _, err := store.ExecuteUpdate(ctx, sql); err != nil {
			t.Fatal(err)
		}
	}
	messages := f.copies(ctx, t, []store.NewMessage{{Sender: "bob", Content: "hay"}}, 1500)
	needle := f.add(ctx, t, store.NewMessage{Sender: "bob", Content: "the needle", Timestamp: messages[0].Timestamp})[0]
	migrator, err := store.OpenMigrator(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	defer migrator.Close()
	var failure *store.DatabaseSchemaError
	err = migrator.BuildSearchIndex(ctx)
	if !errors.As(err, &failure) || !strings.Contains(err.Error(), "pg_trgm cannot be installed") {
		t.Errorf("building the index: %v", err)
	}
	if index, err := f.SearchIndex(ctx); err != nil || index.Ready {
		t.Errorf("index %+v, %v", index, err)
	}
	got, err := f.SearchContext(ctx, store.SearchContextParams{SessionID: f.session.ID, Reader: alice, Query: "needel", Window: store.SearchWindowAll})
	if err != nil || len(got.Results) != 1 || got.Results[0].Message.ID != needle.ID || got.Indexed || got.Scored != 1501 {
		t.Errorf("the search gives %+v, %v", got, err)
	}
}
