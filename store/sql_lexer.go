package store

import "strings"

// sqlToken is a kind of token, as fine as finding placeholders needs it.
type sqlToken uint8

const (
	sqlEnd             sqlToken = iota // the statement is over
	sqlOpen                            // a quote or comment without its end; the lexer's open says which
	sqlOther                           // white space, operators and punctuation, a run of them
	sqlWord                            // a keyword or a plain identifier
	sqlNumber                          // a numeric constant
	sqlQuoted                          // a string constant or a quoted identifier
	sqlComment                         // a line or block comment
	sqlQuestion                        // ?
	sqlEscapedQuestion                 // ??
	sqlParameter                       // $1
)

// sqlLexer splits a statement by the rules of PostgreSQL's own scanner (section "Lexical Structure" of its manual).
type sqlLexer struct {
	sql        string
	start, pos int    // the latest token is sql[start:pos]
	open       string // after sqlOpen: what has no end
}

// next reads one token. After sqlEnd or sqlOpen it must not be called again.
func (l *sqlLexer) next() sqlToken {
	sql := l.sql
	l.start = l.pos
	if l.pos >= len(sql) {
		return sqlEnd
	}
	c := sql[l.pos]
	switch sqlClasses[c] {
	case classPlain:
		for l.pos++; l.pos < len(sql) && sqlClasses[sql[l.pos]] == classPlain; l.pos++ {
		}
		return sqlOther
	case classLetter:
		// Of the prefixes that a string constant may have (B, E, N, X, U&), only E changes where it ends.
		if (c == 'e' || c == 'E') && l.at(1) == '\'' {
			l.pos++
			return l.escapeString()
		}
		for l.pos++; l.pos < len(sql) && isIdentifierByte(sql[l.pos]); l.pos++ {
		}
		return sqlWord
	case classDigit:
		l.number()
		return sqlNumber
	}
	switch c {
	case '\'':
		return l.quoted('\'', "string constant")
	case '"':
		return l.quoted('"', "quoted identifier")
	case '$':
		return l.dollar()
	case '?':
		if l.at(1) == '?' {
			l.pos += 2
			return sqlEscapedQuestion
		}
		l.pos++
		return sqlQuestion
	case '-':
		// Two of them begin a comment even within a run of operator characters.
		if l.at(1) == '-' {
			l.pos = endOfLine(sql, l.pos)
			return sqlComment
		}
	case '/':
		if l.at(1) == '*' {
			return l.blockComment()
		}
	}
	l.pos++
	return sqlOther
}

// at is the byte at this distance from the position, 0 behind the end.
func (l *sqlLexer) at(distance int) byte {
	if l.pos+distance < len(l.sql) {
		return l.sql[l.pos+distance]
	}
	return 0
}

func (l *sqlLexer) unfinished(what string) sqlToken {
	l.open = what
	l.pos = len(l.sql)
	return sqlOpen
}

// quoted reads up to the closing quote. Two quotes in a row stand for one and do not close.
func (l *sqlLexer) quoted(quote byte, what string) sqlToken {
	i := l.pos + 1
	for {
		n := strings.IndexByte(l.sql[i:], quote)
		if n < 0 {
			return l.unfinished(what)
		}
		i += n + 1
		if i >= len(l.sql) || l.sql[i] != quote {
			l.pos = i
			return sqlQuoted
		}
		i++
	}
}

// escapeString reads a string constant in which a backslash hides the next character. The position is at its quote.
// A part that continues it on a later line has no E of its own but means the same, so it belongs to the token.
func (l *sqlLexer) escapeString() sqlToken {
	for i := l.pos + 1; ; i++ {
		n := strings.IndexAny(l.sql[i:], `\'`)
		if n < 0 {
			return l.unfinished("string constant")
		}
		i += n
		if l.sql[i] == '\\' {
			i++
			if i >= len(l.sql) {
				return l.unfinished("string constant")
			}
			continue
		}
		if i+1 < len(l.sql) && l.sql[i+1] == '\'' {
			i++
			continue
		}
		next := continuedString(l.sql, i+1)
		if next < 0 {
			l.pos = i + 1
			return sqlQuoted
		}
		i = next
	}
}

// continuedString returns the offset of the quote that continues a string constant which was closed before i, or -1.
// Between the two must be nothing but white space and line comments, and at least one line break.
func continuedString(sql string, i int) int {
	for line := false; i < len(sql); i++ {
		switch sql[i] {
		case '\n', '\r':
			line = true
		case ' ', '\t', '\f', '\v':
		case '-':
			if !strings.HasPrefix(sql[i:], "--") {
				return -1
			}
			i = endOfLine(sql, i) - 1
		case '\'':
			if line {
				return i
			}
			return -1
		default:
			return -1
		}
	}
	return -1
}

// dollar reads a parameter or a dollar-quoted string constant. Its tag is an identifier without a dollar sign, or nothing.
func (l *sqlLexer) dollar() sqlToken {
	if isDigit(l.at(1)) {
		for l.pos++; isDigit(l.at(0)); l.pos++ {
		}
		return sqlParameter
	}
	i := l.pos + 1
	if i < len(l.sql) && sqlClasses[l.sql[i]] == classLetter {
		for i++; i < len(l.sql) && l.sql[i] != '$' && isIdentifierByte(l.sql[i]); i++ {
		}
	}
	if i >= len(l.sql) || l.sql[i] != '$' {
		l.pos++
		return sqlOther
	}
	tag := l.sql[l.pos : i+1]
	n := strings.Index(l.sql[i+1:], tag)
	if n < 0 {
		return l.unfinished("dollar-quoted string constant")
	}
	l.pos = i + 1 + n + len(tag)
	return sqlQuoted
}

// blockComment reads a comment that may hold others.
func (l *sqlLexer) blockComment() sqlToken {
	depth := 0
	for i := l.pos; i+1 < len(l.sql); {
		switch {
		case l.sql[i] == '/' && l.sql[i+1] == '*':
			depth++
			i += 2
		case l.sql[i] == '*' && l.sql[i+1] == '/':
			depth--
			i += 2
			if depth == 0 {
				l.pos = i
				return sqlComment
			}
		default:
			i++
		}
	}
	return l.unfinished("comment")
}

// number reads a numeric constant, also 0xff and 1_000, which PostgreSQL knows since version 16. A dollar sign never
// belongs to it: 1$1 is a number and a parameter.
func (l *sqlLexer) number() {
	if l.at(0) == '0' {
		switch l.at(1) {
		case 'x', 'X', 'o', 'O', 'b', 'B':
			if isHexDigit(l.at(2)) || l.at(2) == '_' && isHexDigit(l.at(3)) {
				for l.pos += 2; isHexDigit(l.at(0)) || l.at(0) == '_'; l.pos++ {
				}
				return
			}
		}
	}
	l.digits()
	if l.at(0) == '.' {
		l.pos++
		l.digits()
	}
	if c := l.at(0); c == 'e' || c == 'E' {
		sign := 0
		if l.at(1) == '+' || l.at(1) == '-' {
			sign = 1
		}
		if isDigit(l.at(1 + sign)) {
			l.pos += 1 + sign
			l.digits()
		}
	}
}

func (l *sqlLexer) digits() {
	for isDigit(l.at(0)) || l.at(0) == '_' && isDigit(l.at(1)) {
		l.pos++
	}
}

// endOfLine returns where the line that holds offset i ends, before the line break.
func endOfLine(sql string, i int) int {
	if n := strings.IndexAny(sql[i:], "\r\n"); n >= 0 {
		return i + n
	}
	return len(sql)
}

const (
	classPlain   = iota // begins nothing that the lexer looks at
	classLetter         // begins a word: letters, _ and every byte of a character outside ASCII
	classDigit          // begins a number
	classSpecial        // quotes, $, ?, - and /
)

var sqlClasses = func() (classes [256]uint8) {
	for c := range classes {
		switch {
		case 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || c >= 0x80:
			classes[c] = classLetter
		case '0' <= c && c <= '9':
			classes[c] = classDigit
		case strings.IndexByte(`'"$?-/`, byte(c)) >= 0:
			classes[c] = classSpecial
		}
	}
	return classes
}()

// isIdentifierByte says whether c can go on an identifier. A $ can, although it cannot begin one.
func isIdentifierByte(c byte) bool {
	return sqlClasses[c] == classLetter || sqlClasses[c] == classDigit || c == '$'
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHexDigit(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
