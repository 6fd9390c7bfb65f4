package canonical_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/sharedcontext/sharedcontext/v2/internal/canonical"
	"github.com/sharedcontext/sharedcontext/v2/store"
	"github.com/sharedcontext/sharedcontext/v2/storetest"
)

func TestCanonicalJSON(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		` {"b": 1.50, "a" : [ ] , "b":2} `:          `{"a":[],"b":2}`,
		`[15e-1, 1.5, 150E-2]`:                      `[15e-1,15e-1,15e-1]`,
		`[-0, 0.00, 0e5, 100, 1e2]`:                 `[0,0,0,1e2,1e2]`,
		`123456789012345678901234567890.125`:        `123456789012345678901234567890125e-3`,
		`"\u00e9\/\ud83d\ude00\u0001\"\\"`:          "\"é/😀\\u0001\\\"\\\\\"",
		`{"":{"z":null,"y":true},"x":[false,"\n"]}`: `{"":{"y":true,"z":null},"x":[false,"\u000a"]}`,
	} {
		got, err := canonical.CanonicalJSON(text)
		if err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
}

func TestMendJSON(t *testing.T) {
	t.Parallel()
	large := `{"k":1,` + strings.Repeat(`"x":1,`, 40) + `"k":2}`
	for _, test := range []struct {
		text, want string
		mended     canonical.Mend
	}{
		{`{"a": 1}`, `{"a": 1}`, 0},
		{`{"n": "\u0000x\u0000"}`, `{"n":"x"}`, canonical.MendNUL},
		{`"\ud83d"`, `"�"`, canonical.MendSurrogate},
		{`"\ude00\ud83d"`, `"��"`, canonical.MendSurrogate},
		{`"\ud83d\ud83d\ude00"`, `"�😀"`, canonical.MendSurrogate},
		{`"\ud83d\u0041"`, `"�A"`, canonical.MendSurrogate},
		{`{"a":1,"b":2,"a":3}`, `{"a":3,"b":2}`, canonical.MendDuplicate},
		{`{"a":1,"a\u0000":3.10}`, `{"a":3.10}`, canonical.MendDuplicate | canonical.MendNUL},
		{large, `{"k":2,"x":1}`, canonical.MendDuplicate},
		{`[1e131072, -1e400, 1e-16384]`, `["1e131072",-1e400,"1e-16384"]`, canonical.MendNumber},
		{"\"a\x01\tb\"", `"a\u0001\u0009b"`, canonical.MendControl},
	} {
		got, mended, err := canonical.MendJSON(test.text)
		if err != nil || got != test.want || mended != test.mended {
			t.Errorf("%.100s: %s, %b, %v, want %s, %b", test.text, got, mended, err, test.want, test.mended)
		}
	}
	for _, text := range []string{"", "{", "[1,]", `{"a"}`, `{"a":1,}`, `{a:1}`, "01", "1.", "-", "1e", "NaN", "Infinity", "'a'", `"\x"`, `"\u12"`,
		`"\u+123"`, `"`, "truex", "[1 2]", strings.Repeat("[", 1001) + strings.Repeat("]", 1001), "// a\n1"} {
		if _, _, err := canonical.MendJSON(text); err == nil {
			t.Errorf("%.40q passes", text)
		}
	}
}

// TestAgainstServer lets the server judge: it takes what is mended, and its jsonb has the same canonical text.
func TestAgainstServer(t *testing.T) {
	t.Parallel()
	ctx, _ := storetest.New(t)
	piece := rapid.SampledFrom([]string{`"`, `"`, `{`, `}`, `[`, `]`, `:`, `,`, `"a"`, `"a"`, `"b"`, `\u0000`, `\ud83d`, `\ude00`, `\\`, `\n`, `\u00e9`, "é", "😀",
		"\x01", "\x7f", " ", "0", "-0", "1.50", "-15e-1", "1e400", "1e131071", "1e131072", "1e-16383", "1e-16384", "0e-99999", "0.0e9999", "123456789012345678901234567890", "null", "true"})
	var value *rapid.Generator[string]
	value = rapid.Custom(func(t *rapid.T) string {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return "[" + strings.Join(rapid.SliceOfN(value, 0, 3).Draw(t, "items"), ", ") + "]"
		case 1:
			var members []string
			for range rapid.IntRange(0, 4).Draw(t, "members") {
				key := rapid.SampledFrom([]string{`"a"`, `"a\u0000"`, `"\ud83d"`, `"b\n"`, `""`, `"A"`, `"aa"`}).Draw(t, "key")
				members = append(members, key+":"+value.Draw(t, "value"))
			}
			return "{" + strings.Join(members, ",") + "}"
		case 2:
			return `"` + strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{`\u0000`, `\ud83d`, `\ude00`, `\"`, `\/`, "é", "x", "\x01"}), 0, 4).Draw(t, "text"), "") + `"`
		case 3: // mostly not JSON
			return strings.Join(rapid.SliceOfN(piece, 0, 6).Draw(t, "pieces"), "")
		}
		return rapid.SampledFrom([]string{"0", "-0", "-0.0", "1.50", "-15e-1", "1e400", "1e131071", "1e131072", "1e-16383", "1.5e-16383", "1e-16384", "0e-99999", "null", "true", "false"}).Draw(t, "scalar")
	})
	rapid.Check(t, func(t *rapid.T) {
		text := value.Draw(t, "text")
		mended, found, err := canonical.MendJSON(text)
		rows, serverErr := store.ExecuteQuery(ctx, "SELECT $1::text::jsonb::text AS text", mended)
		if (err == nil) != (serverErr == nil) {
			t.Fatalf("%q became %q: %v, but the server says: %v", text, mended, err, serverErr)
		}
		if err != nil {
			return
		}
		want, err := canonical.CanonicalJSON(mended)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := canonical.CanonicalJSON(rows[0]["text"].(string)); err != nil || got != want {
			t.Fatalf("%q became %q with the canonical text %q, but in the database it is %q: %q, %v", text, mended, want, rows[0]["text"], got, err)
		}
		if whole, err := canonical.CanonicalJSON(text); found == 0 && (err != nil || whole != want) {
			t.Fatalf("%q: %q without mending, %q with, %v", text, whole, want, err)
		}
	})
}

func TestRows(t *testing.T) {
	t.Parallel()
	null, text := canonical.Value{Null: true}, func(s string) canonical.Value { return canonical.Value{Text: s} }
	row := func(metadata canonical.Value, resource, action canonical.Value) string {
		return string(canonical.AuditLog.Append(nil, canonical.Row{{Int: 1}, {Int: 2}, text("e"), text("a"), null, resource, action, null, metadata}))
	}
	if row(text(`{"a":1, "b":2}`), null, null) != row(text(`{"b": 2.0,"a":1}`), null, null) {
		t.Error("the same JSON differs")
	}
	seen := make(map[string]int)
	for i, r := range []string{row(null, null, null), row(text("null"), null, null), row(null, text(""), null), row(null, null, text("")),
		row(null, text("ab"), text("c")), row(null, text("a"), text("bc"))} {
		if other, found := seen[r]; found {
			t.Errorf("rows %d and %d are the same", i, other)
		}
		seen[r] = i
	}
	one, two := canonical.NewChecksum(), canonical.NewChecksum()
	one.Add([]byte("ab"))
	one.Add([]byte("c"))
	two.Add([]byte("a"))
	two.Add([]byte("bc"))
	if one.String() == two.String() || one.Rows() != 2 {
		t.Error("the checksum does not see where a row ends")
	}
}
