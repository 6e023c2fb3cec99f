// Go's http.Client: reads asks as JSON from its input, writes what it saw as JSON.  Fields have no order in Go.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
)

type ask struct {
	Method   string `json:"method"`
	Target   string `json:"target"`
	Body     []byte `json:"body"`
	InChunks bool   `json:"in_chunks"`
}

type seen struct {
	Status  int         `json:"status"`
	Fields  [][2]string `json:"fields"`
	Content string      `json:"content"`
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func one(base string, each ask) seen {
	var body io.Reader
	if each.Body != nil {
		body = bytes.NewReader(each.Body)
		if each.InChunks {
			body = io.MultiReader(body) // hides the length
		}
	}
	request, err := http.NewRequest(each.Method, base+each.Target, body)
	check(err)
	answer, err := http.DefaultClient.Do(request)
	check(err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	check(err)
	fields := [][2]string{}
	for name, values := range answer.Header {
		for _, value := range values {
			fields = append(fields, [2]string{name, value})
		}
	}
	sort.SliceStable(fields, func(a, b int) bool { return fields[a][0] < fields[b][0] })
	return seen{answer.StatusCode, fields, fmt.Sprintf("%x", sha256.Sum256(content))}
}

func main() {
	var asks []ask
	check(json.NewDecoder(os.Stdin).Decode(&asks))
	all := []seen{}
	for _, each := range asks {
		all = append(all, one(os.Args[1], each))
	}
	check(json.NewEncoder(os.Stdout).Encode(all))
}
