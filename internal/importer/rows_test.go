package importer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// legacyKey is the Fernet key of the tokens in the real file.
const legacyKey = "c2hhcmVkLWNvbnRleHQtdGVzdC1rZXktMzItYnl0ZXM="

// realFile returns a copy of a deployment with real text, as it was found, or skips the test.
func realFile(tb testing.TB) string {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "shared", "data", "chat_history.db"))
	if err != nil {
		tb.Skip("the real file is not there: ../shared/data/chat_history.db beside the checkout")
	}
	path := filepath.Join(tb.TempDir(), "chat_history.db")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// TestRealFile accounts for every row, finds the three damaged ones, uses the tokens, and changes nothing the second time.
func TestRealFile(t *testing.T) {
	t.Parallel()
	path := realFile(t)
	config := storetest.EmptyConfig(t)
	config.EncryptionKeys = []store.Secret{legacyKey}
	b := &bundle{tb: t, file: &legacytest.File{Path: path}}
	b.ctx, b.manager = storetest.Open(t, config)
	result := b.imports(importer.Options{Batch: 1000})
	for i, want := range []importer.TableResult{
		{Source: 110, Inserted: 111, Placeholders: 1, Compared: 111}, {Source: 9400, Inserted: 9400, Repaired: 3, Compared: 9400},
		{Source: 923, Inserted: 923, Compared: 923}, {Source: 1627, Inserted: 1627, Compared: 1627}, {Source: 40, Inserted: 40, Compared: 40},
	} {
		got := result.Tables[i]
		if got.Source != want.Source || got.Inserted != want.Inserted || got.Placeholders != want.Placeholders || got.Repaired != want.Repaired ||
			got.Compared != want.Compared || got.Found != want.Compared || got.Dropped != 0 || got.SourceChecksum != got.TargetChecksum {
			t.Errorf("%+v", *got)
		}
	}
	for id, want := range map[any][]string{
		9398.0: {"repaired json_nul_removed metadata", "attached session_missing session_id"},
		9399.0: {"repaired nul_removed content", "repaired parent_missing parent_message_id"},
		9400.0: {"repaired json_surrogate metadata"},
	} {
		if diff := cmp.Diff(want, b.reported("messages", id)); diff != "" {
			t.Error(diff)
		}
	}
	b.holds("SELECT count(*) AS v FROM messages m JOIN messages p ON p.id = m.parent_message_id AND p.session_id = m.session_id", int64(2246))
	live := 0
	for _, id := range b.query("SELECT token_id AS v FROM secure_tokens ORDER BY id") {
		_, err := b.manager.ResolveToken(b.ctx, id.(string))
		if err == nil {
			live++
		}
	}
	if ends := b.query("SELECT count(*) AS v FROM secure_tokens WHERE expires_at > now()"); ends[0] != int64(live) || live == 0 {
		t.Errorf("%d tokens resolve, %v have not ended", live, ends)
	}
	before, changes := b.dump(), b.changes
	again := b.imports(importer.Options{Batch: 500})
	if again.AlreadyImported == nil || again.Tables[1].Inserted != 0 || again.Tables[1].Present != 9400 {
		t.Errorf("%+v", again)
	}
	if diff := cmp.Diff(before, b.dump()); diff != "" {
		t.Errorf("the second import changes (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(changes, b.changes); diff != "" {
		t.Errorf("report of the second import (-first +second):\n%s", diff)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version := 1; version <= 3; version++ {
		b := setup(t)
		b.file = legacytest.New(t, version)
		b.file.Session("s")
		b.file.Insert("messages", "session_id", "s", "sender", "a", "content", "c")
		if version == 1 {
			b.file.Exec("DROP TABLE schema_version")
			b.file.Exec("CREATE TABLE notes (x)")
			b.file.Exec("ALTER TABLE messages ADD COLUMN mood TEXT")
		}
		result := b.imports(importer.Options{})
		b.holds("SELECT sender_type AS v FROM messages", "generic")
		var missing, foreign []string
		wantVersion := int64(version)
		if version < 3 {
			missing = []string{"messages.sender_type", "secure_tokens"}
		}
		if version == 1 {
			foreign, wantVersion = []string{"messages.mood", "notes"}, 0
		}
		if result.SchemaVersion != wantVersion || len(result.Rules) > 0 || len(b.changes) > 0 {
			t.Errorf("version %d: %+v", version, result)
		}
		if diff := cmp.Diff(append([]string{}, missing...), result.Missing); diff != "" {
			t.Errorf("version %d: missing (-want +got):\n%s", version, diff)
		}
		if diff := cmp.Diff(append([]string{}, foreign...), result.NotImported); diff != "" {
			t.Errorf("version %d: left alone (-want +got):\n%s", version, diff)
		}
	}
}

// orphans fills a file with rows that refer to what is not there.
func orphans(b *bundle) {
	b.file.Session("s")
	b.file.Session("t")
	message := func(id int, session, parent any) {
		b.file.Insert("messages", "id", id, "session_id", session, "sender", "a", "content", "c", "parent_message_id", parent)
	}
	message(1, "s", nil)
	message(2, "s", 1)
	message(3, "t", 1)       // in another session
	message(4, "gone", nil)  // orphan
	message(5, "gone", 4)    // with its parent
	message(6, "s", 4)       // in the orphan's session
	message(7, "s", 99)      // missing
	message(8, "s", 30)      // comes later
	message(9, "s", 9)       // itself
	message(10, nil, nil)    // without a session
	message(11, "s", "text") // no id
	message(30, "s", 8)      // a circle
	b.file.Insert("agent_memory", "agent_id", "a", "key", "k", "value", "v", "session_id", "gone as well")
	b.file.Insert("agent_memory", "agent_id", "a", "key", "k", "value", "v", "session_id", "")
	b.file.Insert("audit_log", "event_type", "e", "agent_id", "a", "session_id", "gone")
}

func TestOrphansWithPlaceholders(t *testing.T) {
	t.Parallel()
	b := setup(t)
	orphans(b)
	result := b.imports(importer.Options{OnOrphan: importer.Placeholder, Batch: 3})
	b.holds("SELECT id || coalesce(':' || parent_message_id, '') AS v FROM messages ORDER BY id", "1", "2:1", "3", "4", "5:4", "6", "7", "8:30", "9:9", "10", "11", "30:8")
	b.holds("SELECT count(*) AS v FROM sessions WHERE metadata @> '{\"placeholder\": true}' AND is_active", int64(4))
	b.holds("SELECT session_id AS v FROM audit_log", "gone")
	b.holds("SELECT count(*) AS v FROM messages WHERE session_id = 'gone'", int64(2))
	if result.Tables[0].Placeholders != 4 || result.Rules[importer.RulePlaceholder] != 4+3+2+1 || result.Rules[importer.RuleParent] != 2 ||
		result.Rules[importer.RuleElsewhere] != 2 {
		t.Errorf("%v, %+v", result.Rules, *result.Tables[0])
	}
	if diff := cmp.Diff([]string{"attached session_missing session_id"}, b.reported("messages", 5.0)); diff != "" {
		t.Error(diff)
	}
}

func TestOrphansSkipped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	orphans(b)
	result := b.imports(importer.Options{OnOrphan: importer.Skip, Batch: 3})
	b.holds("SELECT id || coalesce(':' || parent_message_id, '') AS v FROM messages ORDER BY id", "1", "2:1", "3", "6", "7", "8:30", "9:9", "11", "30:8")
	b.holds("SELECT id AS v FROM agent_memory")
	b.holds("SELECT session_id AS v FROM audit_log", nil)
	b.holds("SELECT id AS v FROM sessions ORDER BY id", "s", "t")
	if result.Tables[1].Dropped != 3 || result.Tables[2].Dropped != 2 || result.Tables[0].Placeholders != 0 {
		t.Errorf("%+v", *result.Tables[1])
	}
	for _, change := range b.changes {
		if change.Action == importer.Dropped && change.ID == 5.0 {
			if change.Row["content"] != "c" || change.Row["parent_message_id"] != 4.0 || len(change.Row) != 10 {
				t.Errorf("the report does not have the whole row: %v", change.Row)
			}
			return
		}
	}
	t.Error("a dropped row is not in the report")
}

// TestDuplicates keeps the newest of several rows where the new schema holds one.
func TestDuplicates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Session("s")
	memory := func(id int, session any, updated any) {
		b.file.Insert("agent_memory", "id", id, "agent_id", "a", "key", "k", "value", "v", "session_id", session, "updated_at", updated, "created_at", 1)
	}
	memory(1, nil, 1755906516)
	memory(2, nil, "2025-08-22T23:48:37+00:00") // the newest
	memory(3, nil, "2025-08-22 23:48:35")
	memory(4, "s", 7)
	memory(5, "s", 7.0) // as new as the other
	token := func(id int, key, secret any) {
		b.file.Insert("secure_tokens", "id", id, "token_id", key, "encrypted_jwt", secret, "agent_id", "a", "expires_at", id, "created_at", 5)
	}
	token(1, "sct_1", []byte("old"))
	token(2, "sct_1", []byte("new"))
	token(3, nil, []byte("x"))
	token(4, "sct_2", nil)
	token(5, "sct_3", "as text")
	b.file.Insert("sessions", "id", nil, "purpose", "p", "created_by", "a")
	b.file.Insert("sessions", "id", nil, "purpose", "p", "created_by", "a")
	result := b.imports(importer.Options{})
	b.holds("SELECT id AS v FROM agent_memory ORDER BY id", int64(2), int64(5))
	b.holds("SELECT convert_from(encrypted_jwt, 'UTF8') AS v FROM secure_tokens ORDER BY id", "new", "as text")
	if diff := cmp.Diff(map[importer.Rule]int64{importer.RuleDuplicate: 4, importer.RuleNoKey: 4}, result.Rules); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"dropped duplicate"}, b.reported("agent_memory", 1.0)); diff != "" {
		t.Error(diff)
	}
}

// TestSequences continues behind the highest id that the file has ever given out.
func TestSequences(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Session("s")
	for _, id := range []int{-5, 0, 7, 1000} {
		b.file.Insert("messages", "id", id, "session_id", "s", "sender", "a", "content", "c")
	}
	b.file.Exec("DELETE FROM messages WHERE id = 1000")
	b.file.Insert("audit_log", "id", 12, "event_type", "e", "agent_id", "a")
	b.imports(importer.Options{})
	b.holds("SELECT id AS v FROM messages ORDER BY id", int64(-5), int64(0), int64(7))
	b.holds("SELECT nextval('messages_id_seq') AS v", int64(1001))
	b.holds("SELECT nextval('audit_log_id_seq') AS v", int64(13))
	b.holds("SELECT nextval('agent_memory_id_seq') AS v", int64(1))
}

// TestLiveServer imports the state of one moment while a server writes.
func TestLiveServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Session("s")
	for range 500 {
		b.file.Insert("messages", "session_id", "s", "sender", "a", "content", "before")
	}
	stop, stopped := make(chan struct{}), make(chan int)
	begun := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				stopped <- n
				return
			default:
			}
			b.file.Exec("INSERT INTO messages (session_id, sender, content) VALUES ('s', 'a', 'meanwhile'); UPDATE sessions SET purpose = 'changed'")
			if n == 0 {
				close(begun)
			}
		}
	}()
	<-begun
	result, err := b.try(importer.Options{Batch: 20})
	close(stop)
	written := <-stopped
	if err != nil {
		t.Fatal(err)
	}
	b.passes(result)
	imported := b.query("SELECT count(*) AS v FROM messages")[0].(int64)
	t.Logf("%d written meanwhile, %d of them imported", written, imported-500)
	if imported <= 500 || imported > int64(500+written) || result.Access != "shared" {
		t.Errorf("%d messages, opened %s", imported, result.Access)
	}
	b.holds("SELECT count(*) - max(id) AS v FROM messages", int64(0))
}

// TestServerStartsMeanwhile imports nothing when a file that nobody had open is written to.
func TestServerStartsMeanwhile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Session("s")
	b.file.Close()
	_, err := b.try(importer.Options{Planned: func(*importer.Result) {
		server := legacytest.Open(t, b.file.Path)
		server.Session("t")
		server.Close()
	}})
	if err == nil || !strings.Contains(err.Error(), "was written to while it was read; run again") {
		t.Errorf("got %v", err)
	}
	b.holds("SELECT id AS v FROM sessions")
	b.imports(importer.Options{})
	b.holds("SELECT id AS v FROM sessions ORDER BY id", "s", "t")
}
