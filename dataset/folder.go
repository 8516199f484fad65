package dataset

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// imageFile is a file of an image folder.
type imageFile struct {
	path  string // CLASS/FILE, with a slash
	class int
	wrong string // why it cannot be an image, known before it is opened
}

// The sub-folders of a folder that is already split.
var heldOut = []string{"test", "val"}

// openImageFolder opens the folder that holds the classes of a split: DIR
// itself or, where DIR/train holds folders, DIR/train, DIR/test or DIR/val. It
// returns nil if the split is not there.
func openImageFolder(dir string, split Split) (*os.Root, error) {
	root, err := openRoot(dir)
	if err != nil {
		return nil, err
	}
	if !holdsFolders(root, "train") {
		if split == Test {
			return nil, root.Close()
		}
		return root, nil
	}
	defer root.Close()
	if split == Train {
		return root.OpenRoot("train")
	}
	for _, name := range heldOut {
		if holdsFolders(root, name) {
			return root.OpenRoot(name)
		}
	}
	return nil, nil
}

func openRoot(dir string) (*os.Root, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no data folder %s", dir)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return nil, fmt.Errorf("the data folder %s is not a folder", dir)
	}
	return os.OpenRoot(dir)
}

// holdsFolders says whether name is a folder with folders in it.
func holdsFolders(root *os.Root, name string) bool {
	found := false
	_ = eachEntry(root, name, func(e fs.DirEntry) error { // unreadable is absent
		if !ignored(e.Name()) && isFolder(root, name+"/"+e.Name(), e) {
			found = true
			return io.EOF
		}
		return nil
	})
	return found
}

func isFolder(root *os.Root, path string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := root.Stat(path)
	return err == nil && info.IsDir()
}

// eachEntry calls f for each entry of a folder, in the folder's order, without
// holding them all.
func eachEntry(root *os.Root, name string, f func(fs.DirEntry) error) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1024)
		for _, e := range entries {
			if err := f(e); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// ignored are the names that systems leave in folders, and hidden ones: no
// images, and no reason to refuse a folder.
func ignored(name string) bool {
	if strings.HasPrefix(name, ".") {
		return true
	}
	switch strings.ToLower(name) {
	case "thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin":
		return true
	}
	return false
}

// listClasses are the names of the class folders, sorted by their bytes, which
// is torchvision's order too; more than most are refused.
func listClasses(root *os.Root, most int) ([]string, error) {
	var classes []string
	spelled := map[string]string{}
	err := eachEntry(root, ".", func(e fs.DirEntry) error {
		name := e.Name()
		if ignored(name) {
			return nil
		}
		if e.Type()&fs.ModeSymlink != 0 {
			if _, err := root.Stat(name); err != nil {
				return fmt.Errorf("%s/%s is a symbolic link that leads out of the data folder or to nothing; put the folder itself there", root.Name(), name)
			}
		}
		if !isFolder(root, name, e) {
			return nil // a unit file, a list of names, a licence
		}
		if !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
			return fmt.Errorf("the folder %s/%q cannot be a class: its name is not UTF-8 text without control characters; rename it", root.Name(), name)
		}
		if other, ok := spelled[norm.NFC.String(name)]; ok {
			return fmt.Errorf("%s has two folders for the class %q, spelled with other code points (%+q and %+q); merge them", root.Name(), norm.NFC.String(name), other, name)
		}
		spelled[norm.NFC.String(name)] = name
		if classes = append(classes, name); len(classes) > most {
			return fmt.Errorf("%s has more than %d folders, each of which would be a class; a class is a folder of its images, not of one", root.Name(), most)
		}
		return nil
	})
	slices.Sort(classes)
	return classes, err
}

// listFiles are the files of a class folder, sorted by name.
func listFiles(root *os.Root, folder string, class int) ([]imageFile, error) {
	var files []imageFile
	err := eachEntry(root, folder, func(e fs.DirEntry) error {
		if ignored(e.Name()) {
			return nil
		}
		f := imageFile{path: folder + "/" + e.Name(), class: class}
		mode := e.Type()
		if mode&fs.ModeSymlink != 0 {
			info, err := root.Stat(f.path)
			if err != nil {
				f.wrong = "is a symbolic link that leads out of the data folder or to nothing; put the file itself there"
			} else {
				mode = info.Mode().Type()
			}
		}
		switch {
		case f.wrong != "":
		case mode.IsDir():
			return fmt.Errorf("%s/%s is a folder within a class; images lie in DIR/CLASS, or in DIR/train/CLASS and DIR/test/CLASS", root.Name(), f.path)
		case !mode.IsRegular():
			f.wrong = "is not a regular file"
		case !imageName(e.Name()):
			f.wrong = "is not a .png, .jpg or .jpeg file; convert it, or move it out of the class"
		}
		files = append(files, f)
		return nil
	})
	slices.SortFunc(files, func(a, b imageFile) int { return strings.Compare(a.path, b.path) })
	return files, err
}

func imageName(name string) bool {
	name = strings.ToLower(name)
	return strings.HasSuffix(name, ".png") || strings.HasSuffix(name, ".jpg") || strings.HasSuffix(name, ".jpeg")
}

// decode reads a file of an image folder.
func (f imageFile) decode(root *os.Root) (picture, error) {
	if f.wrong != "" {
		return picture{}, errors.New(f.wrong)
	}
	file, err := root.Open(f.path)
	if err != nil {
		return picture{}, fmt.Errorf("cannot be opened: %w", err)
	}
	defer file.Close()
	return decodePicture(file)
}
