// Package rundir is the folder of a run: its lock, the config it belongs to,
// which stages are done, its metrics and log. share/ is the only part that may
// leave; private/ is for the owner's eyes.
//
//	config.yaml    the resolved config
//	run.json       the format and the config's hash
//	stages/        one empty file for each stage that is done
//	metrics.jsonl  one object a line
//	run.log
//	share/         what may be given away
//	private/       mode 0700
//	lock           held by the process that works here
package rundir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// Folder is an open, locked run folder.
type Folder struct {
	path string
	lock *os.File
}

// identity is run.json.
type identity struct {
	Format     int    `json:"format"`
	ConfigHash string `json:"config_hash"`
}

const (
	format       = 1
	identityFile = "run.json"
	configFile   = "config.yaml"
	lockFile     = "lock"
	stagesFolder = "stages"
)

// Open creates the run folder at path or opens the one that is there, if it
// belongs to the config with this hash, and locks it until Close. resolved is
// that config's text.
func Open(path, configHash string, resolved []byte) (*Folder, error) {
	if err := refuseForeign(path); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		name string
		mode fs.FileMode
	}{{"", 0o755}, {stagesFolder, 0o755}, {"share", 0o755}, {"private", 0o700}} {
		if err := makeFolder(filepath.Join(path, part.name), part.mode); err != nil {
			return nil, err
		}
	}
	lock, err := Lock(filepath.Join(path, lockFile), path)
	if err != nil {
		return nil, err
	}
	f := &Folder{path: path, lock: lock}
	if err := f.identify(configHash, resolved); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// refuseForeign keeps the run's files out of a folder with other content.
func refuseForeign(path string) error {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot use %s as the run's folder: %w", path, err)
	}
	ours := map[string]bool{lockFile: true, stagesFolder: true, "share": true, "private": true, configFile: true}
	for _, e := range entries {
		if e.Name() == identityFile {
			return nil
		}
	}
	for _, e := range entries { // an Open that was killed leaves some of ours and temporary files
		if !ours[e.Name()] && !strings.HasPrefix(e.Name(), ".") {
			return fmt.Errorf("%s holds other files and no run; choose an empty or new folder with --out", path)
		}
	}
	return nil
}

// makeFolder also corrects the mode of one that is there.
func makeFolder(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(path, mode); err != nil {
		return Explain(path, err)
	}
	if mode == 0o700 {
		return os.Chmod(path, mode)
	}
	return nil
}

// identify compares the config's hash with the one the folder was made with.
func (f *Folder) identify(hash string, resolved []byte) error {
	content, err := os.ReadFile(f.Path(identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return f.adopt(hash, resolved)
	}
	if err != nil {
		return err
	}
	var id identity
	if err := json.Unmarshal(content, &id); err != nil {
		return fmt.Errorf("%s is damaged: %w", f.Path(identityFile), err)
	}
	switch {
	case id.Format != format:
		return fmt.Errorf("%s was made by another version of dploda: its format is %d, this program's is %d", f.path, id.Format, format)
	case id.ConfigHash != hash && !f.begun():
		return f.adopt(hash, resolved)
	case id.ConfigHash != hash:
		return fmt.Errorf("%s belongs to a run of another config (%s); choose another folder with --out or restore that config", f.path, f.Path(configFile))
	}
	return nil
}

// adopt makes the folder that of a config.
func (f *Folder) adopt(hash string, resolved []byte) error {
	if err := f.WriteFile(configFile, resolved); err != nil {
		return err
	}
	content, err := json.Marshal(identity{Format: format, ConfigHash: hash})
	if err != nil {
		return err
	}
	return f.WriteFile(identityFile, append(content, '\n'))
}

// begun says whether a run has done more here than open the folder. One that was
// refused before, by images that cannot be read for example, leaves the config to be
// mended.
func (f *Folder) begun() bool {
	for _, part := range []string{stagesFolder, "private", "share"} {
		if entries, err := os.ReadDir(f.Path(part)); err != nil || len(entries) > 0 {
			return true
		}
	}
	return false
}

// Close releases the lock.
func (f *Folder) Close() error { return f.lock.Close() }

// Path is a file or folder inside the run folder.
func (f *Folder) Path(parts ...string) string {
	return filepath.Join(append([]string{f.path}, parts...)...)
}

// Share is a path in the part that may leave.
func (f *Folder) Share(parts ...string) string {
	return f.Path(append([]string{"share"}, parts...)...)
}

// Private is a path in the part that must not leave.
func (f *Folder) Private(parts ...string) string {
	return f.Path(append([]string{"private"}, parts...)...)
}

// Done tells whether a stage was marked, by this process or an earlier one.
func (f *Folder) Done(stage string) bool {
	_, err := os.Stat(f.Path(stagesFolder, stage))
	return err == nil
}

// MarkDone records that a stage is done. What the stage wrote must be durable
// before. The mark is durable on return.
func (f *Folder) MarkDone(stage string) error {
	return f.WriteFile(filepath.Join(stagesFolder, stage), nil)
}

// WriteFile stores a file of the run folder, whole or not at all, durable on
// return. Files in private/ are for the owner only.
func (f *Folder) WriteFile(name string, content []byte) error {
	path := f.Path(name)
	mode := fs.FileMode(0o644)
	if within, _ := filepath.Rel("private", name); within != "" && filepath.IsLocal(within) {
		mode = 0o600
	}
	if err := renameio.WriteFile(path, content, mode); err != nil {
		return Explain(path, err)
	}
	return Explain(path, syncFolder(filepath.Dir(path)))
}

// syncFolder makes a rename inside the folder durable.
func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Explain adds to an error of writing at path what a person can do about it;
// nil stays nil.
func Explain(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("the disk is full: cannot write %s; free some space and run the same command again, it goes on where it stopped: %w", path, err)
	case errors.Is(err, syscall.EROFS), errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot write %s: choose a folder that you may write to with --out: %w", path, err)
	}
	return fmt.Errorf("cannot write %s: %w", path, err)
}
