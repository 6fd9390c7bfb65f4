package importer_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/sharedcontext/sharedcontext/v2/internal/importer"
	"github.com/sharedcontext/sharedcontext/v2/internal/legacy/legacytest"
	"github.com/sharedcontext/sharedcontext/v2/schema"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

// fill puts a row into each table.
func fill(f *legacytest.File, word string) {
	const session = "s"
	f.Session(session)
	f.Insert("messages", "session_id", session, "sender", "a", "content", word, "timestamp", 1)
	f.Insert("messages", "session_id", session, "sender", "a", "content", word, "timestamp", 2, "parent_message_id", 1)
	f.Insert("agent_memory", "agent_id", "a", "key", "k", "value", word, "created_at", 1, "updated_at", 1)
	f.Insert("agent_memory", "agent_id", "a", "key", "in session", "value", word, "session_id", session, "created_at", 1, "updated_at", 1)
	f.Insert("audit_log", "event_type", word, "agent_id", "a", "session_id", session, "timestamp", 1)
	f.Insert("secure_tokens", "token_id", "sct_"+word, "encrypted_jwt", []byte(word), "agent_id", "a", "expires_at", 1, "created_at", 1)
}

// TestSecondFile refuses a file whose ids collide, and imports it with new ones, twice with the same result.
func TestSecondFile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b.file, "first")
	b.imports(importer.Options{})
	before := b.dump()

	b.file = legacytest.New(t, 3)
	fill(b.file, "second")
	b.file.Session("own")
	b.file.Insert("messages", "session_id", "own", "sender", "a", "content", "own", "timestamp", 1)
	b.file.Insert("secure_tokens", "token_id", "sct_first", "encrypted_jwt", []byte("x"), "agent_id", "a", "expires_at", 1, "created_at", 1)
	b.file.Insert("audit_log", "event_type", "orphan", "agent_id", "a", "session_id", "gone", "timestamp", 1)
	_, err := b.try(importer.Options{})
	var collision *importer.CollisionError
	if !errors.As(err, &collision) || collision.Table != "messages" || collision.ID != int64(1) || !strings.Contains(err.Error(), "--remap-ids") {
		t.Fatalf("got %v", err)
	}
	dry, err := b.try(importer.Options{DryRun: true})
	if err != nil || dry.Pass || dry.Tables[1].Collisions != 2 || dry.Tables[2].Collisions != 2 || dry.Tables[3].Collisions != 1 || dry.Tables[4].Collisions != 2 {
		t.Errorf("%v, %+v", err, *dry.Tables[1])
	}
	if diff := cmp.Diff(before, b.dump()); diff != "" {
		t.Fatalf("a refused import changes (-before +after):\n%s", diff)
	}

	result := b.imports(importer.Options{RemapIDs: true})
	b.holds("SELECT count(*) AS v FROM messages m JOIN messages p ON p.id = m.parent_message_id AND p.content = m.content", int64(2))
	b.holds("SELECT value AS v FROM agent_memory ORDER BY id", "first", "first", "second")
	b.holds("SELECT token_id AS v FROM secure_tokens ORDER BY id", "sct_first", "sct_second")
	b.holds("SELECT id AS v FROM messages ORDER BY id", int64(1), int64(2), int64(3), int64(4), int64(5))
	b.holds("SELECT count(DISTINCT session_id) AS v FROM messages", int64(3))
	id := b.query("SELECT session_id AS v FROM messages WHERE content = 'second'")[0].(string)
	if !store.ValidateSessionID(id) {
		t.Errorf("the new session id is %q", id)
	}
	b.holds("SELECT session_id AS v FROM audit_log WHERE event_type = 'second'", id)
	b.holds("SELECT session_id AS v FROM audit_log WHERE event_type = 'orphan'", "gone")
	if diff := cmp.Diff(map[importer.Rule]int64{importer.RuleNewID: 1, importer.RuleTaken: 2, importer.RulePlaceholder: 2}, result.Rules); diff != "" {
		t.Error(diff)
	}
	after, changes := b.dump(), b.changes
	if b.imports(importer.Options{RemapIDs: true}).AlreadyImported == nil {
		t.Error("the file is not recognised")
	}
	if diff := cmp.Diff(after, b.dump()); diff != "" {
		t.Errorf("the second import changes (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(changes, b.changes); diff != "" {
		t.Errorf("report of the second import (-first +second):\n%s", diff)
	}
}

// TestOwnRows imports into a database that services use, where nothing collides.
func TestOwnRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Exec("INSERT INTO sqlite_sequence (name, seq) VALUES ('messages', 1000), ('agent_memory', 1000), ('audit_log', 1000), ('secure_tokens', 1000)")
	fill(b.file, "moved")
	session, err := b.manager.CreateSession(b.ctx, store.CreateSessionParams{Purpose: "own", CreatedBy: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.manager.AddMessage(b.ctx, session.ID, store.NewMessage{Sender: "a", Content: "own"}); err != nil {
		t.Fatal(err)
	}
	b.imports(importer.Options{})
	added, err := b.manager.AddMessage(b.ctx, session.ID, store.NewMessage{Sender: "a", Content: "own"})
	if err != nil || added.ID != 1003 {
		t.Errorf("the next id is %d, %v", added.ID, err)
	}
}

// TestGrownFile imports what a file has more than at the import before.
func TestGrownFile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b.file, "x")
	b.imports(importer.Options{})
	b.file.Insert("messages", "session_id", "s", "sender", "a", "content", "later")
	result := b.imports(importer.Options{})
	if result.AlreadyImported != nil || result.Tables[1].Inserted != 1 || result.Tables[1].Present != 2 || result.Tables[0].Present != 1 {
		t.Errorf("%+v", *result.Tables[1])
	}
	b.file.Exec("UPDATE sessions SET purpose = 'another'")
	if _, err := b.try(importer.Options{}); err == nil || !strings.Contains(err.Error(), "sessions s of the file collides: the database has a row of this id with another purpose") {
		t.Errorf("got %v", err)
	}
}

// TestVerifyFinds each kind of difference.
func TestVerifyFinds(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]string{
		"UPDATE messages SET content = 'changed' WHERE id = 2":                                    "messages 2 has another content",
		"UPDATE messages SET timestamp = timestamp + interval '1 microsecond' WHERE id = 1":       "messages 1 has another timestamp",
		"DELETE FROM agent_memory WHERE id = 1":                                                   "agent_memory 1 is missing",
		"UPDATE audit_log SET metadata = '{}'":                                                    "audit_log 1 has another metadata",
		"UPDATE secure_tokens SET encrypted_jwt = encrypted_jwt || '\\x00'":                       "secure_tokens 1 has another encrypted_jwt",
		"UPDATE sessions SET is_active = false":                                                   "sessions s has another updated_at",
		"UPDATE messages SET parent_message_id = NULL":                                            "messages 2 has another parent_message_id",
		"UPDATE agent_memory SET expires_at = 'infinity' WHERE id = 2":                            "agent_memory 2 has another updated_at",
		"INSERT INTO audit_log (event_type, agent_id) VALUES ('of the database''s own', 'a')":     "",
		"UPDATE messages SET metadata = '{\"b\": 1, \"a\": 2.0}' WHERE id = 1 AND metadata = '1'": "",
	} {
		b := setup(t)
		fill(b.file, "x")
		b.imports(importer.Options{})
		b.exec(sql)
		before := b.dump()
		for range 2 { // verify, then import, which only verifies
			result, err := importer.Verify(b.ctx, b.manager, b.file.Path, importer.Options{Progress: importer.Silent{}})
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, table := range result.Tables {
				if !table.Pass {
					found = append(found, fmt.Sprint(table.Table, " ", table.FirstDifferent, " ", table.Difference))
				}
			}
			if strings.Join(found, ", ") != want || result.Pass != (want == "") {
				t.Errorf("%s: %q, want %q", sql, found, want)
			}
			if result, err = b.try(importer.Options{}); err != nil || result.Pass != (want == "") {
				t.Errorf("%s: %v", sql, err)
			}
		}
		if diff := cmp.Diff(before, b.dump()); diff != "" {
			t.Errorf("verification changes (-before +after):\n%s", diff)
		}
	}
}

// TestFailedImport leaves the database as it was when what arrives is not what was sent.
func TestFailedImport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b.file, "x")
	b.exec(`CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.content = upper(NEW.content); RETURN NEW; END'`)
	b.exec("CREATE TRIGGER meddle BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION meddle()")
	result, err := b.try(importer.Options{})
	if err != nil || result.Pass || result.Tables[1].Difference != "has another content" {
		t.Errorf("%v, %+v", err, *result.Tables[1])
	}
	b.holds("SELECT id AS v FROM sessions")
	b.holds("SELECT to_regclass('imported_files')::text AS v", nil)
}

// TestSealedAudit does not put rows between those that are sealed.
func TestSealedAudit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b.file, "x")
	b.exec("INSERT INTO audit_log (id, event_type, agent_id) VALUES (5, 'e', 'a')")
	b.exec("SELECT setval('audit_log_id_seq', 5)")
	if report, err := b.manager.SealAudit(b.ctx); err != nil || report.Rows != 1 {
		t.Fatalf("%+v, %v", report, err)
	}
	if _, err := b.try(importer.Options{}); err == nil || !strings.Contains(err.Error(), "audit_log 1 of the file collides: the audit log is sealed up to row 5") {
		t.Fatalf("got %v", err)
	}
	b.imports(importer.Options{RemapIDs: true})
	b.holds("SELECT id AS v FROM audit_log ORDER BY id", int64(5), int64(6))
	b.sealsHold(2)
	b.file = legacytest.New(t, 3)
	b.file.Exec("INSERT INTO sqlite_sequence (name, seq) VALUES ('audit_log', 99)")
	b.file.Insert("audit_log", "event_type", "e", "agent_id", "a")
	b.imports(importer.Options{})
	b.sealsHold(3)
}

// sealsHold seals what is not sealed yet and finds so many rows intact.
func (b *bundle) sealsHold(rows int64) {
	b.tb.Helper()
	if _, err := b.manager.SealAudit(b.ctx); err != nil {
		b.tb.Fatal(err)
	}
	if report, err := b.manager.VerifyAudit(b.ctx); err != nil || len(report.Problems) > 0 || report.Rows != rows {
		b.tb.Errorf("%+v, %v", report, err)
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b.file, "x")
	empty := storetest.EmptyConfig(t)
	b.ctx, b.manager = storetest.Open(t, empty)
	if _, err := importer.Verify(b.ctx, b.manager, b.file.Path, importer.Options{Progress: importer.Silent{}}); err == nil || !strings.Contains(err.Error(), "import the file first") {
		t.Errorf("verification against nothing: %v", err)
	}
	b.imports(importer.Options{DryRun: true})
	b.holds("SELECT to_regclass('sessions')::text AS v", nil)
	b.imports(importer.Options{})
	// Emptied, it is imported into again.
	b.exec("TRUNCATE sessions, messages, message_keys, agent_memory, audit_log, secure_tokens")
	if b.imports(importer.Options{}).Tables[1].Inserted != 2 {
		t.Error("an emptied database is not filled")
	}
	b.exec("UPDATE schema_migrations SET version = ?", schema.Latest()+1)
	if _, err := b.try(importer.Options{}); err == nil || !strings.Contains(err.Error(), "a newer program") {
		t.Errorf("a newer schema: %v", err)
	}
}

// TestOlderSchema looks at a database of the first generation, and adopts it with its rows.
func TestOlderSchema(t *testing.T) {
	t.Parallel()
	b := setup(t)
	fill(b.file, "x")
	config := storetest.EmptyConfig(t)
	migrator, err := store.OpenMigrator(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(migrator.To(t.Context(), schema.FirstGeneration), migrator.Close()); err != nil {
		t.Fatal(err)
	}
	b.ctx, b.manager = storetest.Open(t, config)
	b.exec("INSERT INTO sessions (id, purpose, created_by) VALUES ('own', 'p', 'a')")
	b.exec("INSERT INTO agent_memory (agent_id, key, value) VALUES ('a', 'k', 'of the database')")
	result, err := b.try(importer.Options{DryRun: true})
	if err != nil || result.Pass || result.Tables[2].Collisions != 1 || result.Tables[1].Inserted != 2 {
		t.Errorf("%v, %+v", err, result)
	}
	b.exec("DELETE FROM agent_memory")
	b.imports(importer.Options{})
	b.holds("SELECT id AS v FROM sessions ORDER BY id", "own", "s")
}

// TestTwoAtOnce lets one of several imports of a file import it.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	for _, remap := range []bool{false, true} {
		b := setup(t)
		fill(b.file, "x")
		var group errgroup.Group
		results := make([]*importer.Result, 4)
		for i := range results {
			group.Go(func() (err error) {
				results[i], err = importer.Import(b.ctx, b.manager, b.file.Path, importer.Options{RemapIDs: remap, Progress: importer.Silent{}})
				return err
			})
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
		first := 0
		for _, result := range results {
			b.passes(result)
			if result.AlreadyImported == nil {
				first++
			}
		}
		if first != 1 {
			t.Errorf("%d of the imports imported", first)
		}
		b.holds("SELECT count(*) AS v FROM messages", int64(2))
	}
}

func TestHighestID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.file.Insert("audit_log", "id", int64(1<<63-1), "event_type", "e", "agent_id", "a")
	if _, err := b.try(importer.Options{}); err == nil || !strings.Contains(err.Error(), "behind which none is left") {
		t.Errorf("got %v", err)
	}
}
