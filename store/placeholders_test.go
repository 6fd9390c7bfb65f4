package store

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestBindPlaceholders(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, sql string
		nargs     int
		want      string // "" means unchanged
	}{
		{"nothing", "SELECT 1", 0, ""},
		{"empty", "", 0, ""},
		{"question marks", "SELECT * FROM a WHERE b = ? AND c IN (?, ?)", 3, "SELECT * FROM a WHERE b = $1 AND c IN ($2, $3)"},
		{"more than nine", "VALUES (" + strings.Repeat("?,", 11) + "?)", 12, "VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)"},
		{"only one character", "?", 1, "$1"},
		{"numbers", "SELECT $2, $1, $2", 2, ""},
		{"leading zero", "SELECT $01", 1, ""},
		{"cast", "SELECT ?::int, ?::text", 2, "SELECT $1::int, $2::text"},
		{"named argument", "SELECT f(a := ?, b => ?)", 2, "SELECT f(a := $1, b => $2)"},
		{"no blanks", "a=?AND b>=?-1LIMIT?", 3, "a=$1 AND b>=$2-1LIMIT $3"},
		{"between operators", "a=-?||?*?", 3, "a=-$1||$2*$3"},
		{"after a number", "SELECT 1?", 1, "SELECT 1 $1"},
		{"after a dollar sign", "SELECT $?", 1, "SELECT $ $1"},
		{"before a string", "SELECT ?'a?'", 1, "SELECT $1'a?'"},
		{"before E", "SELECT ?E'a\\'?'", 1, "SELECT $1 E'a\\'?'"},
		{"before a dollar quote", "SELECT ?$$?$$", 1, "SELECT $1 $$?$$"},
		{"outside ASCII", "SELECT größe?ß FROM 表 WHERE 名=?", 2, "SELECT größe $1 ß FROM 表 WHERE 名=$2"},

		{"operator", "SELECT m ?? 'k'", 0, "SELECT m ? 'k'"},
		{"operators", "SELECT m ??| a, m ??& a, j @?? '$.a', p ??- q, p ??# q, p ??|| q", 0,
			"SELECT m ?| a, m ?& a, j @? '$.a', p ?- q, p ?# q, p ?|| q"},
		{"operator with question marks", "SELECT m ?? ? AND n ??| ?", 2, "SELECT m ? $1 AND n ?| $2"},
		{"operator with numbers", "SELECT m ?? $1", 1, "SELECT m ? $1"},
		{"operator and placeholder in a row", "SELECT m???", 1, "SELECT m?$1"},
		{"operator of two question marks", "SELECT a ???? b", 0, "SELECT a ?? b"},

		{"string", "SELECT 'a?$9'", 0, ""},
		{"doubled quote", "SELECT 'it''s ?', ?", 1, "SELECT 'it''s ?', $1"},
		{"no escapes in a standard string", `SELECT '\', ?`, 1, `SELECT '\', $1`},
		{"E string", `SELECT E'\'?\\', e'''?', ?`, 1, `SELECT E'\'?\\', e'''?', $1`},
		{"E string continued", "SELECT E'a' \n 'b\\'?', ?", 1, "SELECT E'a' \n 'b\\'?', $1"},
		{"E string continued after comments", "SELECT E'a'--'\n--?\r'b\\'?', ?", 1, "SELECT E'a'--'\n--?\r'b\\'?', $1"},
		{"E string continued twice", "SELECT E'a'\n'b'\n'\\'?', ?", 1, "SELECT E'a'\n'b'\n'\\'?', $1"},
		{"E string not continued on its line", `SELECT E'a' '\', ?`, 1, `SELECT E'a' '\', $1`},
		{"E string not continued after a block comment", "SELECT E'a' /* */\n'\\', ?", 1, "SELECT E'a' /* */\n'\\', $1"},
		{"E string not continued after a minus", "SELECT E'a'\n-'\\', ?", 1, "SELECT E'a'\n-'\\', $1"},
		{"E string and a line break", "SELECT E'a'\n, ?", 1, "SELECT E'a'\n, $1"},
		{"E at the end of an identifier", `SELECT aE'\', ?`, 1, `SELECT aE'\', $1`},
		{"E at the end of a Unicode identifier", `SELECT éE'\', ?`, 1, `SELECT éE'\', $1`},
		{"E away from the quote", `SELECT E '\', ?`, 1, `SELECT E '\', $1`},
		{"prefixes", `SELECT B'0?', X'F?', N'?\', U&'\0061?\', u&"?", ?`, 1, `SELECT B'0?', X'F?', N'?\', U&'\0061?\', u&"?", $1`},
		{"quoted identifier", `SELECT "a?""$5", ?`, 1, `SELECT "a?""$5", $1`},

		{"dollar quote", "SELECT $$?'$1$$, ?", 1, "SELECT $$?'$1$$, $1"},
		{"dollar quote with a tag", "SELECT $a_1$ $$ ? $A_1$ $a_1$, ?", 1, "SELECT $a_1$ $$ ? $A_1$ $a_1$, $1"},
		{"dollar quote with a Unicode tag", "SELECT $ü$?$ü$, ?", 1, "SELECT $ü$?$ü$, $1"},
		{"dollar quote ends at the first tag", "SELECT $a$ $b$a$, ?", 1, "SELECT $a$ $b$a$, $1"},
		{"dollar sign in an identifier", "SELECT a$b$c, ?, d$$, ?", 2, "SELECT a$b$c, $1, d$$, $2"},
		{"number in an identifier", "SELECT a$1, $1", 1, ""},
		{"parameter after a number", "SELECT 1$1, 1.5$2, 1e5$3, .5e-3$4, 0x1F$5, 1_000$6", 6, ""},
		{"dollar quote after a parameter", "SELECT $1$$?$$", 1, ""},
		{"lone dollar signs", "SELECT $, $a, ?", 1, "SELECT $, $a, $1"},

		{"line comment", "SELECT ? -- ? 'it\n, ?", 2, "SELECT $1 -- ? 'it\n, $2"},
		{"line comment ends at a carriage return", "SELECT -- ?\r?", 1, "SELECT -- ?\r$1"},
		{"line comment at the end", "SELECT 1 -- ?", 0, ""},
		{"line comment within an operator", "SELECT 1 +--?\n?", 1, "SELECT 1 +--?\n$1"},
		{"block comment", "SELECT /* ? ' $1 */ ?", 1, "SELECT /* ? ' $1 */ $1"},
		{"nested block comment", "SELECT /* /* ? */ ? /**/ -- */ ?", 1, "SELECT /* /* ? */ ? /**/ -- */ $1"},
		{"block comment within an operator", "SELECT 1 */*?*/?", 1, "SELECT 1 */*?*/$1"},
		{"slash and star overlap", "SELECT /*/ ? */ ?", 1, "SELECT /*/ ? */ $1"},
		{"line comment hides a block comment", "SELECT ? --/*\n", 1, "SELECT $1 --/*\n"},
		{"several statements", "DELETE FROM a WHERE b=?; SELECT ?", 2, "DELETE FROM a WHERE b=$1; SELECT $2"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want := c.want
			if want == "" {
				want = c.sql
			}
			got, err := bindPlaceholders(c.sql, c.nargs)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBindPlaceholdersRefuses(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, sql string
		nargs     int
		want      string
	}{
		{"too few", "SELECT ?, ?", 3, "placeholders must be as many as the parameters, 3, got 2, "},
		{"none", "SELECT 1", 1, "placeholders must be as many as the parameters, 1, got 0"},
		{"too many", "SELECT\n  ?, ?", 1,
			"placeholders must be as many as the parameters, 1, got 2, the first at line 2, column 3 (the operator ? is written ??)"},
		{"operator without doubling", "SELECT m ? 'secret'", 0,
			"placeholders must be as many as the parameters, 0, got 1, the first at line 1, column 10 (the operator ? is written ??)"},
		{"mixed", "SELECT '世界', ?, $1", 2,
			"placeholders must be all ? or all $1 (the operator ? is written ??), got a ? at line 1, column 14 and a $ at line 1, column 17"},
		{"mixed the other way", "SELECT $1, m ? 'k'", 1,
			"placeholders must be all ? or all $1 (the operator ? is written ??), got a ? at line 1, column 14 and a $ at line 1, column 8"},
		{"mixed with too high a number", "SELECT ? = $7", 1,
			"placeholders must be all ? or all $1 (the operator ? is written ??), got a ? at line 1, column 8 and a $ at line 1, column 12"},
		{"too high", "SELECT $1, $3", 2, "placeholders must be no more than the parameters, 2, got $3 at line 1, column 12"},
		{"number without parameters", "SELECT $1", 0, "placeholders must be no more than the parameters, 0, got $1 at line 1, column 8"},
		{"gap", "SELECT $1, $3", 3, "placeholders must be $1 to $3, one for each parameter, got no $2"},
		{"gap beyond 64", "SELECT $200" + numbered(64), 200, "placeholders must be $1 to $200, one for each parameter, got no $65"},
		{"last one unused", "SELECT $1", 2, "placeholders must be $1 to $2, one for each parameter, got no $2"},
		{"zero", "SELECT $0", 1, "placeholders must be $1 to $65535, got another number at line 1, column 8"},
		{"large", "SELECT $65536", 1, "placeholders must be $1 to $65535, got another number at line 1, column 8"},
		{"huge", "SELECT $99999999999999999999", 1, "placeholders must be $1 to $65535, got another number at line 1, column 8"},
		{"numbered question mark", "SELECT ?1", 1, "placeholders must be ? without a number, or $1, got ? before a digit at line 1, column 8"},
		{"too many parameters", "SELECT 1", 65536, "placeholders must be at most 65535, got 65536 parameters"},

		{"string", "SELECT 'secret", 0, "syntax must be complete, got no end of the string constant that begins at line 1, column 8"},
		{"string of a doubled quote", "SELECT '''", 0, "syntax must be complete, got no end of the string constant that begins at line 1, column 8"},
		{"E string", `SELECT E'secret\'`, 0, "syntax must be complete, got no end of the string constant that begins at line 1, column 8"},
		{"E string with a last backslash", `SELECT E'secret\`, 0, "syntax must be complete, got no end of the string constant that begins at line 1, column 8"},
		{"E string continued", "SELECT E'a'\n'b", 0, "syntax must be complete, got no end of the string constant that begins at line 1, column 8"},
		{"identifier", `SELECT "secret`, 0, "syntax must be complete, got no end of the quoted identifier that begins at line 1, column 8"},
		{"dollar quote", "SELECT $a$ $secret$ $", 0, "syntax must be complete, got no end of the dollar-quoted string constant that begins at line 1, column 8"},
		{"comment", "SELECT 1\n/* /* secret */", 0, "syntax must be complete, got no end of the comment that begins at line 2, column 1"},
		{"smallest comment", "/*/", 0, "syntax must be complete, got no end of the comment that begins at line 1, column 1"},
		{"NUL", "SELECT 'a\x00'", 0, "syntax must be free of NUL characters, got one at line 1, column 10"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := bindPlaceholders(c.sql, c.nargs)
			var invalid *ValidationError
			if !errors.As(err, &invalid) || invalid.Field != "sql" {
				t.Fatalf("bindPlaceholders = %q, %v; want a ValidationError of the field sql", got, err)
			}
			if !strings.Contains(err.Error(), strings.TrimSuffix(c.want, ", ")) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

// numbered is ", $1, $2, …, $n".
func numbered(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, ", $%d", i)
	}
	return b.String()
}

func TestBindPlaceholdersManyNumbers(t *testing.T) {
	t.Parallel()
	for _, n := range []int{63, 64, 65, 128, 129, 1000, maxParameters} {
		sql := "SELECT 0" + numbered(n)
		if got, err := bindPlaceholders(sql, n); err != nil || got != sql {
			t.Errorf("%d numbers: %v", n, err)
		}
		if got, err := bindPlaceholders("SELECT 0"+strings.Repeat(", ?", n), n); err != nil || got != sql {
			t.Errorf("%d question marks: %v", n, err)
		}
	}
}

func TestBindPlaceholdersDoesNotAllocate(t *testing.T) {
	sql := `SELECT E'a\'' FROM b WHERE c = $1 AND d = $2 -- done`
	if n := testing.AllocsPerRun(100, func() { _, _ = bindPlaceholders(sql, 2) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

// TestBindPlaceholdersProperty builds statements of tokens whose translation is known.
func TestBindPlaceholdersProperty(t *testing.T) {
	t.Parallel()
	inner := rapid.StringMatching(`[a?$1 \-*/;ü\n]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		numbers := rapid.Bool().Draw(t, "numbers")
		highest := rapid.IntRange(1, 70).Draw(t, "highest")
		questions := 0
		var in, want strings.Builder
		add := func(from, to string) {
			comma := rapid.SampledFrom([]string{",", " , ", "\n,", ",\t"}).Draw(t, "comma")
			in.WriteString(from + comma)
			want.WriteString(to + comma)
		}
		for range rapid.IntRange(0, 12).Draw(t, "tokens") {
			text := inner.Draw(t, "text")
			switch rapid.IntRange(0, 11).Draw(t, "kind") {
			case 0, 1, 2:
				if numbers {
					p := "$" + strconv.Itoa(rapid.IntRange(1, highest).Draw(t, "number"))
					add(p, p)
				} else {
					questions++
					add("?", "$"+strconv.Itoa(questions))
				}
			case 3:
				add("m ?? 'k'", "m ? 'k'")
			case 4:
				text = rapid.SampledFrom([]string{"", "B", "N", "U&", "a"}).Draw(t, "prefix") + "'" + text + `''\'`
				add(text, text)
			case 5:
				text = `E'` + text + `\'''` + "' \n '" + text + `\\'`
				add(text, text)
			case 6:
				text = `"` + text + `""'"`
				add(text, text)
			case 7:
				text = "$é1$" + text + "'$$$é1$"
				add(text, text)
			case 8:
				text = "--" + strings.ReplaceAll(text, "\n", "") + "'\"$$\n"
				add(text, text)
			case 9:
				text = "/*/*" + strings.NewReplacer("*", "", "/", "").Replace(text) + "'*/?*/"
				add(text, text)
			case 10:
				add("a$1$b", "a$1$b")
			case 11:
				add("1.5e-7", "1.5e-7")
			}
		}
		nargs := questions
		if numbers {
			nargs = highest
			add(strings.TrimPrefix(numbered(highest), ", "), strings.TrimPrefix(numbered(highest), ", "))
		}
		got, err := bindPlaceholders(in.String(), nargs)
		if err != nil {
			t.Fatalf("%q: %v", in.String(), err)
		}
		if diff := cmp.Diff(want.String(), got); diff != "" {
			t.Fatalf("%q (-want +got):\n%s", in.String(), diff)
		}
		if got, err := bindPlaceholders(in.String(), nargs+1); err == nil {
			t.Fatalf("one parameter too many: %q", got)
		}
	})
}

// significant lists the tokens of sql without white space, operators and punctuation. Question marks are numbered as the
// placeholders they become when bind is set, and split into single characters otherwise.
func significant(sql string, bind bool) (tokens []string, questions, highest int) {
	lex := sqlLexer{sql: sql}
	for {
		kind := lex.next()
		text := sql[lex.start:lex.pos]
		switch kind {
		case sqlEnd:
			return tokens, questions, highest
		case sqlQuestion:
			questions++
			if bind {
				kind, text = sqlParameter, "$"+strconv.Itoa(questions)
			}
			tokens = append(tokens, fmt.Sprint(kind, text))
		case sqlEscapedQuestion:
			tokens = append(tokens, fmt.Sprint(sqlQuestion, "?"))
			if !bind {
				tokens = append(tokens, fmt.Sprint(sqlQuestion, "?"))
			}
		case sqlParameter:
			highest = max(highest, parameterNumber(text[1:]))
			tokens = append(tokens, fmt.Sprint(kind, text))
		case sqlOther:
		default:
			tokens = append(tokens, fmt.Sprint(kind, text))
		}
		if kind == sqlOpen {
			return tokens, questions, highest
		}
	}
}

func FuzzBindPlaceholders(f *testing.F) {
	for _, sql := range []string{
		"SELECT ?, '?' FROM a WHERE b ?? ? -- ?", `E'\'?'` + "\n'b\\'' ?", "$a$?$a$ ?$$?$$", `"?"?/*/*?*/?*/?`, "$1,$2,$1 ??",
		"a?b?1", "LIMIT?", "U&'\\?'?N'?'", "1e5?1e-?0x_?", "$?$?", "größe?ß", "?--\r?", "???'??'",
	} {
		f.Add(sql)
	}
	f.Fuzz(func(t *testing.T, sql string) {
		before, questions, highest := significant(sql, true)
		nargs := max(questions, highest)
		out, err := bindPlaceholders(sql, nargs)
		if err != nil {
			var invalid *ValidationError
			if !errors.As(err, &invalid) || invalid.Field != "sql" {
				t.Fatalf("%v (%T)", err, err)
			}
			return
		}
		after, left, _ := significant(out, false)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("%q became %q (-before +after):\n%s", sql, out, diff)
		}
		if left == 0 && !strings.Contains(out, "??") {
			if again, err := bindPlaceholders(out, nargs); err != nil || again != out {
				t.Fatalf("%q became %q, and that %q, %v", sql, out, again, err)
			}
		}
		if _, err := bindPlaceholders(sql, nargs+1); err == nil {
			t.Fatalf("%q took %d parameters and one more", sql, nargs)
		}
	})
}
