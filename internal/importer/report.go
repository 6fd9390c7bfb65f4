package importer

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
)

// report writes the changes, a JSON object per line, into a file that is complete when it has its name.
type report struct {
	name   string
	file   *os.File
	buffer *bufio.Writer
	json   *json.Encoder
}

const partial = ".partial"

// newReport begins a report. Without a name nothing is written.
func newReport(name string) (*report, error) {
	if name == "" {
		return &report{}, nil
	}
	file, err := os.OpenFile(name+partial, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600) //nolint:gosec // the file that the user names; messages are in it, so for nobody else
	if err != nil {
		return nil, err
	}
	r := &report{name: name, file: file, buffer: bufio.NewWriter(file)}
	r.json = json.NewEncoder(r.buffer)
	r.json.SetEscapeHTML(false)
	return r, nil
}

func (r *report) add(changes []Change) error {
	if r.file == nil {
		return nil
	}
	for i := range changes {
		if err := r.json.Encode(&changes[i]); err != nil {
			return err
		}
	}
	return nil
}

// finish gives the report its name, after it has reached the disk.
func (r *report) finish() error {
	if r.file == nil {
		return nil
	}
	file := r.file
	r.file = nil
	if err := errors.Join(r.buffer.Flush(), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(r.name+partial, r.name)
}

// abandon removes what an import that failed has written.
func (r *report) abandon() {
	if r.file != nil {
		_ = r.file.Close()
		_ = os.Remove(r.name + partial) // it is overwritten by the next run if it stays
	}
}
