package legacy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver
)

// busyTimeout is how long a lock of another process is waited for, in milliseconds.
const busyTimeout = 5000

// Access says how a file was opened.
type Access string

// The ways to open a file. None of them changes the file or leaves another one beside it.
const (
	// AccessShared takes part in SQLite's locking: a server may write at the same time.
	AccessShared Access = "shared"
	// AccessImmutable is for a file in WAL mode that nobody has open: -wal and -shm are not there, and SQLite would make
	// them. Close fails when the file has changed after all.
	AccessImmutable Access = "immutable"
	// AccessCopy reads a copy in the directory for temporary files: a server that ended without closing the file has left
	// a -wal or -journal, which SQLite would work into the file or could not read without writing beside it.
	AccessCopy Access = "copy"
)

// File is an open file with its snapshot.
type File struct {
	// Path is the file as it was named.
	Path string
	// Access is how it was opened.
	Access Access
	// Version is the highest version in schema_version, 0 when that is missing or empty.
	Version int64

	db       *sql.DB
	tx       *sql.Tx
	columns  map[string][]string // of each table
	original identity
	copied   string // directory of the copy
}

// identity is what changes when somebody writes to a file.
type identity struct {
	info fs.FileInfo
	wal  int64 // size of -wal
}

// Open opens a file and takes the snapshot that everything is read from. The error says what is wrong with the file and
// what to do.
func Open(ctx context.Context, path string) (*File, error) {
	f := &File{Path: path}
	if err := f.open(ctx); err != nil {
		_ = f.Close() // what matters is why it could not be opened
		return nil, fmt.Errorf("%s %w", path, describe(err))
	}
	return f, nil
}

func (f *File) open(ctx context.Context) error {
	wal, err := checkHeader(f.Path)
	if err != nil {
		return err
	}
	if f.original, err = identify(f.Path); err != nil {
		return err
	}
	f.Access = AccessShared
	_, shmErr := os.Stat(f.Path + "-shm")
	if wal && shmErr != nil {
		f.Access = AccessImmutable
		if f.original.wal > 0 {
			f.Access = AccessCopy
		}
	}
	err = f.connect(ctx)
	if f.Access == AccessShared && needsCopy(err) {
		f.Access = AccessCopy
		err = errors.Join(f.disconnect(), f.connect(ctx))
	}
	if err != nil {
		return err
	}
	return f.inspect(ctx)
}

// connect opens the database and begins the snapshot.
func (f *File) connect(ctx context.Context) error {
	path, query := f.Path, url.Values{"_pragma": {fmt.Sprintf("busy_timeout(%d)", busyTimeout)}, "mode": {"ro"}}
	switch f.Access {
	case AccessImmutable:
		query.Set("immutable", "1")
	case AccessCopy:
		copied, err := f.copy()
		if err != nil {
			return fmt.Errorf("cannot be copied for reading: %w", err)
		}
		path, query = copied, url.Values{"mode": {"rw"}}
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	name := url.URL{Scheme: "file", Path: absolute, RawQuery: query.Encode()}
	if f.db, err = sql.Open("sqlite", name.String()); err != nil {
		return err
	}
	f.db.SetMaxOpenConns(1)
	// The transaction outlives ctx, which would otherwise end it from another goroutine; Close ends it.
	if f.tx, err = f.db.BeginTx(context.WithoutCancel(ctx), nil); err != nil {
		return err
	}
	var objects int64 // the snapshot begins with the first read
	return f.tx.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_master").Scan(&objects)
}

// Close ends the snapshot.
func (f *File) Close() error {
	err := f.disconnect()
	if f.copied != "" {
		err = errors.Join(err, os.RemoveAll(f.copied))
		f.copied = ""
	}
	return err
}

// Unchanged returns an error when a file that seemed to be used by nobody was written to since, so that what was read may
// be of no single moment; see [AccessImmutable].
func (f *File) Unchanged() error {
	if f.Access != AccessImmutable {
		return nil
	}
	return f.sameAsBefore()
}

func (f *File) disconnect() error {
	var err error
	if f.tx != nil {
		if err = f.tx.Rollback(); errors.Is(err, sql.ErrTxDone) {
			err = nil
		}
		f.tx = nil
	}
	if f.db != nil {
		err = errors.Join(err, f.db.Close())
		f.db = nil
	}
	return err
}

// sameAsBefore compares the file with what it was when it was opened.
func (f *File) sameAsBefore() error {
	now, err := identify(f.Path)
	if err != nil {
		return err
	}
	before := f.original.info
	if !os.SameFile(now.info, before) || now.info.Size() != before.Size() || !now.info.ModTime().Equal(before.ModTime()) ||
		f.Access == AccessCopy && now.wal != f.original.wal {
		return fmt.Errorf("%s was written to while it was read; run again, a server that has it open is then noticed", f.Path)
	}
	return nil
}

// copy copies the file, with what belongs to it, into a directory of its own.
func (f *File) copy() (string, error) {
	directory, err := os.MkdirTemp("", "sharedcontext-import-")
	if err != nil {
		return "", err
	}
	f.copied = directory
	target := filepath.Join(directory, "copy.db")
	for _, suffix := range []string{"", "-wal", "-journal"} {
		if err := copyFile(f.Path+suffix, target+suffix); err != nil && (suffix == "" || !errors.Is(err, fs.ErrNotExist)) {
			return "", err
		}
	}
	return target, f.sameAsBefore()
}

func copyFile(from, to string) (err error) {
	source, err := os.Open(from) //nolint:gosec // the file that the user names
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, source.Close()) }()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // in a directory of our own
	if err != nil {
		return err
	}
	_, err = io.Copy(target, source)
	return errors.Join(err, target.Close())
}

func identify(path string) (identity, error) {
	var id identity
	var err error
	if id.info, err = os.Stat(path); err != nil {
		return id, err
	}
	if wal, err := os.Stat(path + "-wal"); err == nil {
		id.wal = wal.Size()
	}
	return id, nil
}

// checkHeader refuses what is no SQLite file and says whether it is in WAL mode.
func checkHeader(path string) (wal bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return false, errors.New("is not a file")
	}
	if info.Size() == 0 {
		return false, errors.New("is empty: no server of the first generation has written to it")
	}
	file, err := os.Open(path) //nolint:gosec // the file that the user names
	if err != nil {
		return false, err
	}
	var header [100]byte
	_, err = io.ReadFull(file, header[:])
	if err = errors.Join(err, file.Close()); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	if string(header[:16]) != "SQLite format 3\x00" {
		return false, errors.New("is not an SQLite database, or is encrypted; decrypt it first where it is")
	}
	return header[19] == 2, nil
}
