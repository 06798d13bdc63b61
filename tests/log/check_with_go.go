// Reads questions as JSON and answers each with "" or what golang.org/x/mod/sumdb found wrong.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Note, Key string
	Size, Old int64
	OldRoot   tlog.Hash
	Root      tlog.Hash
	Leaf      []byte
	Index     int64
	Proof     []tlog.Hash
	Leaves    [][]byte
}

func answer(kind string, q question) error {
	switch kind {
	case "note":
		verifier, err := note.NewVerifier(q.Key)
		if err != nil {
			return err
		}
		opened, err := note.Open([]byte(q.Note), note.VerifierList(verifier))
		if err != nil {
			return err
		}
		tree, err := tlog.ParseTree([]byte("go.sum database tree\n" + opened.Text[strings.Index(opened.Text, "\n")+1:]))
		if err == nil && (tree.N != q.Size || tree.Hash != q.Root) {
			return fmt.Errorf("size %d and root %v", tree.N, tree.Hash)
		}
		return err
	case "root":
		var stored []tlog.Hash
		read := tlog.HashReaderFunc(func(at []int64) (found []tlog.Hash, err error) {
			for _, one := range at {
				found = append(found, stored[one])
			}
			return found, nil
		})
		for index, leaf := range q.Leaves {
			hashes, err := tlog.StoredHashes(int64(index), leaf, read)
			if err != nil {
				return err
			}
			stored = append(stored, hashes...)
		}
		root, err := tlog.TreeHash(int64(len(q.Leaves)), read)
		if err == nil && root != q.Root {
			return fmt.Errorf("root %v", root)
		}
		return err
	case "inclusion":
		return tlog.CheckRecord(q.Proof, q.Size, q.Root, q.Index, tlog.RecordHash(q.Leaf))
	case "consistency":
		return tlog.CheckTree(q.Proof, q.Size, q.Root, q.Old, q.OldRoot)
	}
	return fmt.Errorf("no such question")
}

func main() {
	var asked []struct {
		Kind string
		Q    question
	}
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	found := make([]string, len(asked))
	for at, one := range asked {
		if err := answer(one.Kind, one.Q); err != nil {
			found[at] = err.Error()
		}
	}
	json.NewEncoder(os.Stdout).Encode(found)
}
