package legacy

import (
	"errors"
	"fmt"
	"io/fs"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// needsCopy says that SQLite would have to write in order to read.
func needsCopy(err error) bool {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code() & 0xff {
	case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY:
		return true
	}
	return false
}

// describe puts an error of SQLite or the file system into words that continue the name of the file.
func describe(err error) error {
	var failure *sqlite.Error
	if errors.As(err, &failure) {
		switch failure.Code() & 0xff {
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
			return fmt.Errorf("is locked by another process; stop the server, or pass a copy made with sqlite3's .backup: %w", err)
		case sqlite3.SQLITE_CORRUPT:
			return fmt.Errorf("is damaged; restore a backup, or pass what sqlite3's .recover saves of it: %w", err)
		case sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("is not an SQLite database, or is encrypted; decrypt it first where it is: %w", err)
		case sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
			return fmt.Errorf("cannot be opened; check who may read it and its directory: %w", err)
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return errors.New("does not exist; name the file that DATABASE_PATH named, often chat_history.db")
		case errors.Is(err, fs.ErrPermission):
			return errors.New("may not be read by this user")
		}
		return fmt.Errorf("cannot be read: %w", path.Err)
	}
	return err
}
