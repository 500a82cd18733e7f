package libpq

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/pgsafe/pgsafe/internal/urlfix"
)

// What a server's certificate can fail of with revocation lists.
var (
	errRevoked = errors.New("the certificate, or one that it depends on, is revoked")
	errNoList  = errors.New("a certificate's issuer has no valid revocation list in sslcrl or sslcrldir")
)

// revocation names the files with the revocation lists: sslcrl, sslcrldir, or both. They are read
// anew for each connection, as libpq does, because a list is replaced every few days and the old
// one expires.
type revocation struct {
	file, filePart string // the path, and what errors call it
	dir, dirPart   string
}

// check is what OpenSSL does with X509_V_FLAG_CRL_CHECK and X509_V_FLAG_CRL_CHECK_ALL, which libpq
// sets (initialize_SSL, fe-secure-openssl.c): every certificate of the chain, the root too, needs a
// valid list of its issuer that does not have it. One of the chains has to pass.
func (r revocation) check(chains [][]*x509.Certificate) error {
	lists, fault := r.read()
	if fault != nil {
		return fault
	}
	err := errNoList
	for _, chain := range chains {
		if err = checkChain(chain, lists); err == nil {
			return nil
		}
	}
	return err
}

func checkChain(chain []*x509.Certificate, lists []*x509.RevocationList) error {
	for i, cert := range chain {
		issuer := chain[min(i+1, len(chain)-1)] // the issuer of the root is the root
		list := currentList(issuer, lists, time.Now())
		if list == nil || !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
			return errNoList
		}
		for _, entry := range list.RevokedCertificateEntries {
			if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return errRevoked
			}
		}
	}
	return nil
}

// currentList returns issuer's newest list that is valid now, or nil.
func currentList(issuer *x509.Certificate, lists []*x509.RevocationList, now time.Time) *x509.RevocationList {
	var newest *x509.RevocationList
	for _, list := range lists {
		switch {
		case !bytes.Equal(list.RawIssuer, issuer.RawSubject) || list.CheckSignatureFrom(issuer) != nil:
		case list.ThisUpdate.After(now) || !list.NextUpdate.IsZero() && list.NextUpdate.Before(now):
		case newest == nil || list.ThisUpdate.After(newest.ThisUpdate):
			newest = list
		}
	}
	return newest
}

// read returns the lists in all the files. Each of the two places must have one.
func (r revocation) read() ([]*x509.RevocationList, *urlfix.Error) {
	var lists []*x509.RevocationList
	if r.file != "" {
		found, err := readLists(r.filePart, r.file)
		if err != nil {
			return nil, err
		}
		if found == nil {
			return nil, tlsFault(r.filePart, "the file holds no revocation list", "a list is PEM: -----BEGIN X509 CRL-----")
		}
		lists = append(lists, found...)
	}
	if r.dir != "" {
		found, err := readListDir(r.dirPart, r.dir)
		if err != nil {
			return nil, err
		}
		lists = append(lists, found...)
	}
	return lists, nil
}

// readListDir reads every file in a directory. OpenSSL would read those whose names openssl rehash
// made, which are links to others in it.
func readListDir(part, dir string) ([]*x509.RevocationList, *urlfix.Error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fileFault(part, err)
	}
	var lists []*x509.RevocationList
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() { // a directory, or a link to nothing
			continue
		}
		found, err := readLists(part, path)
		if err != nil {
			return nil, err
		}
		lists = append(lists, found...)
	}
	if lists == nil {
		return nil, tlsFault(part, "the directory holds no file with a revocation list",
			"a list is PEM: -----BEGIN X509 CRL-----")
	}
	return lists, nil
}

// readLists returns the lists among the PEM blocks of a file.
func readLists(part, path string) ([]*x509.RevocationList, *urlfix.Error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fileFault(part, err)
	}
	var lists []*x509.RevocationList
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, tlsFault(part, "a revocation list in it cannot be parsed", "download it again")
		}
		if limited(list) {
			return nil, tlsFault(part, "a revocation list in it has a scope that is not understood",
				"use the issuer's full list")
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// limited reports whether a list does not speak for all certificates of its issuer: a delta, or one
// with an issuing distribution point. Such extensions are critical, and RFC 5280, 5.2 forbids to
// use a list with one that is unknown.
func limited(list *x509.RevocationList) bool {
	for _, extension := range list.Extensions {
		if extension.Critical {
			return true
		}
	}
	return false
}
