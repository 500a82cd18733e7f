package libpq

import (
	"errors"
	"io/fs"
	"os"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// checkPassfile refuses a password file that cannot be read. It need not exist (passwordFromFile,
// fe-connect.c).
func checkPassfile(k keywords) *urlfix.Error {
	if path := k.get("passfile"); path != "" {
		if err := readable(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fileFault(k.part("passfile"), err)
		}
	}
	return nil
}

func readable(path string) error {
	f, err := os.Open(path)
	if err == nil {
		_ = f.Close() // opened for reading only
	}
	return err
}

func fileFault(part string, err error) *urlfix.Error {
	return &urlfix.Error{Code: urlfix.CodeValue, Part: part, Pos: -1,
		Reason: "the file cannot be read: " + fileTrouble(err), Hint: "give the path of a file that this process may read"}
}

// fileTrouble is the system's word for what is wrong, without the path.
func fileTrouble(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return "it cannot be opened"
}
