package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sharedcontext/sharedcontext/v2/gen"
)

// AsReader returns a scope in which SQL of a service's own reads as an agent. [ExecuteQuery], [ExecuteUpdate],
// [ExecuteInsert] and the [Conn] of [GetDBConnection] see the messages that this reader may see, by the rule of
// visibility, its own memory as long as it has not expired, its own audit events or, as an admin, all, and every session;
// they see no tokens and write nothing. The views show what these tables show. What a reader may not is [ErrPermission].
//
// Each statement runs as the role [Config.ReaderRole] in a transaction, or a savepoint of that in ctx, which is rolled
// back: role and reader end with it, also behind a pooler in transaction mode. GetDBConnection is one such transaction, in
// which both are set again before each statement. Where the role is missing or may not be taken, and where row-level
// security would not hold for it, statements fail. An invalid reader is a [*ValidationError] of each statement.
//
// Methods of [Manager] are not affected: each says itself who reads. The only exception is the context that
// GetDBConnection passes on, in which they fail with ErrPermission. It is a barrier against mistakes in SQL, not against
// SQL that wants to pass it: a function called in a statement may set another reader, or the role back. A statement must
// be a single one and a SELECT, WITH, VALUES, TABLE, SHOW or EXPLAIN.
func AsReader(ctx context.Context, reader Reader) context.Context {
	scope := &readerScope{reader: reader}
	scope.err = scope.reader.validate()
	return context.WithValue(ctx, readerKey, scope)
}

// readerScope is what AsReader puts into a context.
type readerScope struct {
	reader Reader
	err    error // what is wrong with the reader
}

func scopeOf(ctx context.Context) *readerScope {
	scope, _ := ctx.Value(readerKey).(*readerScope)
	return scope
}

var (
	// errRead ends a transaction that has only read, with a roll-back.
	errRead = errors.New("reading is done")
	// errTypedAsReader refuses operations that have their own idea of who reads and writes.
	errTypedAsReader = fmt.Errorf("%w: inside of GetDBConnection in the scope of AsReader only its Conn and the Execute functions work, "+
		"as that reader: call it with the context outside", ErrPermission)
)

// inReaderScope runs fn in a transaction that reads as the reader of a scope.
func (m *Manager) inReaderScope(ctx context.Context, operation string, scope *readerScope, fn func(ctx context.Context) error) error {
	if scope.err != nil {
		return operationError(operation, scope.err)
	}
	options := TxOptions{ReadOnly: true}
	if m.transaction(ctx) != nil { // whose options are set
		options = TxOptions{}
	}
	err := m.InTxOptions(ctx, options, func(ctx context.Context) error {
		t := m.transaction(ctx)
		t.reader = scope
		if err := t.become(ctx); err != nil { // also where fn asks nothing
			return operationError(operation, err)
		}
		if err := fn(ctx); err != nil {
			return err
		}
		return errRead
	})
	if err == errRead { //nolint:errorlint // with an error of the roll-back around it, it is that error
		return nil
	}
	return err
}

// queryAsReader runs one statement of a service's own as the reader of a scope.
func queryAsReader[T any](ctx context.Context, m *Manager, operation string, scope *readerScope, sql string,
	run func(db gen.DBTX, sql string) (T, error),
) (T, error) {
	var result T
	if err := readOnly(sql); err != nil {
		return result, operationError(operation, err)
	}
	err := m.inReaderScope(ctx, operation, scope, func(ctx context.Context) (err error) {
		t := m.transaction(ctx)
		result, err = run(t.tx, sql)
		return t.failure(operation, t.failed(ctx, err))
	})
	return result, err
}

// asReader prepares a transaction that reads as an agent for a statement; in another it does nothing.
func (t *transaction) asReader(ctx context.Context, sql string) error {
	if t.reader == nil {
		return nil
	}
	if err := readOnly(sql); err != nil {
		return err
	}
	return t.become(ctx)
}

// become sets reader and role, to the end of the transaction or savepoint.
func (t *transaction) become(ctx context.Context) error {
	reader, role := t.reader.reader, t.manager.config.ReaderRole
	entered, err := queries.ReaderEnter(ctx, t.tx, gen.ReaderEnterParams{
		AgentID: reader.AgentID, AgentType: reader.AgentType, Admin: strconv.FormatBool(reader.Admin), Role: role,
	})
	switch {
	case hasCode(err, "22023"), hasCode(err, insufficientPrivilege): // no such role, or not for this one
		err = fmt.Errorf("%w: reading as an agent needs the role %q: %w", ErrPermission, role, err)
	case err != nil:
		return err
	case entered.Secured:
		return nil
	default:
		err = fmt.Errorf("%w: row-level security does not hold for the role %q, which therefore reads as no agent", ErrPermission, role)
	}
	return &DatabaseError{
		Op: "read as an agent", Err: err,
		Hint: `let the owner of the database run "sharedcontext migrate up" and "sharedcontext access grant", which makes this role and lets a service take it; ` +
			`"sharedcontext access check" says whether it may`,
	}
}

// failure is operationError, which of a reader tells what it has a right to.
func (t *transaction) failure(operation string, err error) error {
	if t.reader == nil || !hasCode(err, insufficientPrivilege) && !hasCode(err, readOnlySQLTransaction) {
		return operationError(operation, err)
	}
	return &DatabaseError{
		Op: operation, Err: fmt.Errorf("%w: %w", ErrPermission, err),
		Hint: "a reader sees sessions, messages, its own memory and audit events, and writes nothing: use a context outside of AsReader for the rest",
	}
}

const insufficientPrivilege = "42501"

// readWords begin the statements that only read.
var readWords = []string{"select", "with", "values", "table", "show", "explain"}

// readOnly refuses what is not a single statement that reads. It is there to say so early and clearly: what a statement
// does inside, the server keeps from writing. Several in one text would, in some of the ways that statements are sent,
// get past the end of the transaction.
func readOnly(sql string) error {
	refuse := func(got string) error {
		return fmt.Errorf("%w: in the scope of AsReader a statement is a single one and begins with %s, got %s",
			ErrPermission, strings.ToUpper(strings.Join(readWords, ", ")), got)
	}
	lexer := sqlLexer{sql: sql}
	begun, ended := false, false
	for {
		kind := lexer.next()
		text := sql[lexer.start:lexer.pos]
		switch {
		case kind == sqlEnd && !begun:
			return refuse("none")
		case kind == sqlEnd, kind == sqlOpen: // of which the server says what is open
			return nil
		case kind == sqlComment:
			continue
		case kind == sqlOther:
			for _, c := range text {
				switch {
				case strings.ContainsRune(" \t\r\n\f\v", c):
				case ended:
					return refuse("several")
				case c == ';':
					ended = true
				case !begun && c != '(':
					return refuse("another")
				}
			}
		case ended:
			return refuse("several")
		case !begun && (kind != sqlWord || !slices.Contains(readWords, strings.ToLower(text))):
			return refuse("another")
		default:
			begun = true
		}
	}
}
