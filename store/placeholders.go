package store

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxParameters is how many parameters one statement can carry: the wire protocol counts them in 16 bits.
const maxParameters = 65535

// bindPlaceholders returns sql with PostgreSQL's numbered parameters, ready for nargs arguments.
//
// A statement is written in one of two styles. With question marks, each ? becomes the next of $1, $2, …, and there must
// be exactly nargs of them. With numbers, $1 to $nargs must all occur, any number of times, and no higher one.
// Using both in one statement is an error, and so is a parameter that nothing refers to.
//
// Outside quotes and comments a lone ? is always a placeholder, in either style and with any number of arguments, and
// ?? always writes the character ?. Operators that contain a question mark are therefore written with two of them:
//
//	metadata ?? 'key'            metadata ? 'key'
//	metadata ??| ARRAY['a','b']  metadata ?| ARRAY['a','b']
//	metadata ??& ARRAY['a','b']  metadata ?& ARRAY['a','b']
//	metadata @?? '$.a'           metadata @? '$.a'
//
// and likewise ??-, ??#, ??|| and ??-| of the geometric types.
//
// What is text and what is not follows PostgreSQL's own lexical rules with standard_conforming_strings on, which is the
// server's default. A blank is added where a new $1 would otherwise grow together with its neighbour, as in "LIMIT?".
//
// Errors are [*ValidationError] of the field "sql". They give counts and positions and never quote the statement.
// sql itself is returned, without copying it, when nothing has to change.
func bindPlaceholders(sql string, nargs int) (string, error) {
	if nargs > maxParameters {
		return "", placeholderError("at most "+strconv.Itoa(maxParameters), strconv.Itoa(nargs)+" parameters")
	}
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return "", sqlSyntaxError("free of NUL characters", "one at "+sqlPosition(sql, i))
	}
	var (
		out           strings.Builder
		copied        int // sql[:copied] is in out
		questions     int
		firstQuestion = -1
		firstNumber   = -1
		highest       int
		highestAt     int
		used          parameterSet
	)
	lex := sqlLexer{sql: sql}
	for {
		token := lex.next()
		if token == sqlEnd {
			break
		}
		if token == sqlOpen {
			return "", sqlSyntaxError("complete", "no end of the "+lex.open+" that begins at "+sqlPosition(sql, lex.start))
		}
		switch token {
		case sqlParameter:
			n := parameterNumber(sql[lex.start+1 : lex.pos])
			if n < 1 || n > maxParameters {
				return "", placeholderError("$1 to $"+strconv.Itoa(maxParameters), "another number at "+sqlPosition(sql, lex.start))
			}
			if firstNumber < 0 {
				firstNumber = lex.start
			}
			if n > highest {
				highest, highestAt = n, lex.start
			}
			used.add(n)
		case sqlQuestion:
			if firstQuestion < 0 {
				firstQuestion = lex.start
			}
			if lex.pos < len(sql) && isDigit(sql[lex.pos]) {
				return "", placeholderError("? without a number, or $1", "? before a digit at "+sqlPosition(sql, lex.start))
			}
			questions++
			if copied == 0 {
				out.Grow(len(sql) + 4*nargs + 8)
			}
			out.WriteString(sql[copied:lex.start])
			if lex.start > 0 && isIdentifierByte(sql[lex.start-1]) {
				out.WriteByte(' ')
			}
			var digits [8]byte
			out.WriteByte('$')
			out.Write(strconv.AppendInt(digits[:0], int64(questions), 10))
			if lex.pos < len(sql) && isIdentifierByte(sql[lex.pos]) {
				out.WriteByte(' ')
			}
			copied = lex.pos
		case sqlEscapedQuestion:
			if copied == 0 {
				out.Grow(len(sql) + 4*nargs + 8)
			}
			out.WriteString(sql[copied : lex.start+1])
			copied = lex.pos
		}
		if firstQuestion >= 0 && firstNumber >= 0 {
			return "", placeholderError("all ? or all $1 (the operator ? is written ??)", fmt.Sprintf("a ? at %s and a $ at %s",
				sqlPosition(sql, firstQuestion), sqlPosition(sql, firstNumber)))
		}
	}
	if highest > nargs {
		return "", placeholderError(fmt.Sprintf("no more than the parameters, %d", nargs),
			fmt.Sprintf("$%d at %s", highest, sqlPosition(sql, highestAt)))
	}
	if firstNumber >= 0 {
		for n := 1; n <= nargs; n++ {
			if !used.has(n) {
				return "", placeholderError(fmt.Sprintf("$1 to $%d, one for each parameter", nargs), fmt.Sprintf("no $%d", n))
			}
		}
	} else if questions != nargs {
		got := strconv.Itoa(questions)
		if questions > nargs {
			got += ", the first at " + sqlPosition(sql, firstQuestion) + " (the operator ? is written ??)"
		}
		return "", placeholderError(fmt.Sprintf("as many as the parameters, %d", nargs), got)
	}
	if copied == 0 {
		return sql, nil
	}
	out.WriteString(sql[copied:])
	return out.String(), nil
}

func placeholderError(limit, got string) error {
	return &ValidationError{Field: "sql", Rule: "placeholders", Limit: limit, Got: got}
}

func sqlSyntaxError(limit, got string) error {
	return &ValidationError{Field: "sql", Rule: "syntax", Limit: limit, Got: got}
}

// sqlPosition is a byte offset as an editor shows it, with columns in characters.
func sqlPosition(sql string, offset int) string {
	before := sql[:offset]
	line := 1 + strings.Count(before, "\n")
	column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return fmt.Sprintf("line %d, column %d", line, column)
}

// parameterNumber reads the digits after a dollar sign. What is beyond maxParameters comes out as some larger number.
func parameterNumber(digits string) int {
	n := 0
	for i := 0; i < len(digits) && n <= maxParameters; i++ {
		n = 10*n + int(digits[i]-'0')
	}
	return n
}

// parameterSet holds parameter numbers. It allocates only for statements with more than 64 parameters.
type parameterSet struct {
	low  uint64
	high []uint64
}

func (s *parameterSet) add(n int) {
	word, bit := (n-1)/64, uint64(1)<<((n-1)%64)
	if word == 0 {
		s.low |= bit
		return
	}
	for len(s.high) < word {
		s.high = append(s.high, 0)
	}
	s.high[word-1] |= bit
}

func (s *parameterSet) has(n int) bool {
	word, bit := (n-1)/64, uint64(1)<<((n-1)%64)
	if word == 0 {
		return s.low&bit != 0
	}
	return word <= len(s.high) && s.high[word-1]&bit != 0
}
