package rundir

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	metricsFile = "metrics.jsonl"
	logFile     = "run.log"
)

// Metrics appends to metrics.jsonl. Only released values belong there.
type Metrics struct {
	f    *os.File
	last uint64
}

// Metrics opens the run's metrics. A last line that a crash has cut is taken
// away first.
func (f *Folder) Metrics() (*Metrics, error) {
	path := f.Path(metricsFile)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, Explain(path, err)
	}
	if err := cutPartialLine(file); err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot repair %s: %w", path, err)
	}
	last, err := lastStep(path)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Metrics{file, last}, nil
}

// lastStep reads the step of the file's last line.
func lastStep(path string) (uint64, error) {
	content, err := os.ReadFile(path)
	if err != nil || len(content) == 0 {
		return 0, err
	}
	lines := bytes.TrimSuffix(content, []byte("\n"))
	var line struct {
		Step uint64 `json:"step"`
	}
	if err := json.Unmarshal(lines[bytes.LastIndexByte(lines, '\n')+1:], &line); err != nil {
		return 0, fmt.Errorf("the last line of %s is damaged; remove it: %w", path, err)
	}
	return line.Step, nil
}

// Last is the step of the last line, by this process or an earlier one; 0 if
// there is none.
func (m *Metrics) Last() uint64 { return m.last }

// cutPartialLine truncates the file after its last newline and stays at its
// end.
func cutPartialLine(f *os.File) error {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for end > 0 {
		n := min(end, int64(len(block)))
		if _, err := f.ReadAt(block[:n], end-n); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			end += int64(i) + 1 - n
			break
		}
		end -= n
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	_, err = f.Seek(end, io.SeekStart)
	return err
}

// Append writes one line: an object with "step" first and then the fields of
// values, which must encode as a JSON object (a struct or a map).
func (m *Metrics) Append(step uint64, values any) error {
	fields, err := json.Marshal(values)
	if err != nil {
		return fmt.Errorf("metrics of step %d: %w", step, err)
	}
	if len(fields) < 2 || fields[0] != '{' {
		return errors.New("metrics are the fields of an object")
	}
	line := fmt.Appendf(nil, `{"step":%d`, step)
	if len(fields) > 2 {
		line = append(append(line, ','), fields[1:]...)
	} else {
		line = append(line, '}')
	}
	// One write a line: a crash can cut the last one only.
	if _, err := m.f.Write(append(line, '\n')); err != nil {
		return Explain(m.f.Name(), err)
	}
	m.last = step
	return nil
}

// Close makes the lines durable.
func (m *Metrics) Close() error {
	if err := m.f.Sync(); err != nil {
		m.f.Close()
		return Explain(m.f.Name(), err)
	}
	return m.f.Close()
}

// Log opens the run's log for appending.
func (f *Folder) Log() (io.WriteCloser, error) {
	path := f.Path(logFile)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	return file, Explain(path, err)
}
