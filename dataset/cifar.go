package dataset

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// CIFAR's images (Krizhevsky, "Learning Multiple Layers of Features from Tiny
// Images", 2009): 32x32 RGB, channel, row, column.
const (
	cifarSide  = 32
	cifarBytes = 3 * cifarSide * cifarSide
)

// cifarFiles are the binary batches of a split, the number of label bytes
// before each image and the file with the classes' names. CIFAR-100 has two
// labels, coarse and fine, of which the fine one is taken.
func cifarFiles(dir string, split Split) (files []string, labels int, names string) {
	patterns := map[Split][2]string{Train: {"data_batch_*.bin", "train.bin"}, Test: {"test_batch.bin", "test.bin"}}[split]
	for i, pattern := range patterns {
		matches, _ := fs.Glob(os.DirFS(dir), pattern) // the patterns are well formed
		if len(matches) > 0 {
			return within(dir, matches), i + 1, []string{"batches.meta.txt", "fine_label_names.txt"}[i]
		}
	}
	return nil, 0, ""
}

func readCIFAR(files []string, labels int) (*labelled, error) {
	l := &labelled{c: 3, h: cifarSide, w: cifarSide}
	for _, path := range files {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		err = l.appendCIFAR(bufio.NewReaderSize(f, 1<<16), labels)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("%s is not a readable CIFAR batch: %w", path, err)
		}
	}
	if len(l.labels) == 0 {
		return nil, fmt.Errorf("%s holds no images", files[0])
	}
	return l, nil
}

func (l *labelled) appendCIFAR(r io.Reader, labels int) error {
	record := make([]byte, labels+cifarBytes)
	for {
		switch _, err := io.ReadFull(r, record); {
		case err == io.EOF:
			return nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("its length is no multiple of %d bytes, the %d of the label and 3072 of an image", len(record), labels)
		case err != nil:
			return err
		}
		l.labels = append(l.labels, uint16(record[labels-1]))
		l.pixels = append(l.pixels, record[labels:]...)
	}
}

// readNames reads class names, one a line, without empty lines at the end; nil
// if there is no such file.
func readNames(dir, file string) ([]string, error) {
	f, err := os.Open(filepath.Join(dir, file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	const most = 16 << 20
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	text := strings.TrimPrefix(strings.ReplaceAll(string(content), "\r\n", "\n"), "\ufeff")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > maxClasses || len(content) > most {
		return nil, fmt.Errorf("%s names more than %d classes", filepath.Join(dir, file), maxClasses)
	}
	return lines, nil
}
