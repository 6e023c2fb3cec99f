// The pages under Go's net/http (see pages.py).  Go keeps no order among different fields.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
)

const piece = 65536

var pattern = bytes.Repeat(alphabet(), piece/256)

var notCompared = map[string]bool{"Via": true, "X-Forwarded-For": true, "X-Forwarded-Host": true,
	"X-Forwarded-Proto": true, "Connection": true, "Keep-Alive": true, "Te": true, "Upgrade": true, "Expect": true,
	"Proxy-Connection": true}

func alphabet() []byte {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	return all
}

func sendPattern(w http.ResponseWriter, size int) {
	for size > 0 {
		n := size
		if n > piece {
			n = piece
		}
		if _, err := w.Write(pattern[:n]); err != nil {
			return
		}
		size -= n
	}
}

func answer(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	parts := append(strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/"), "")
	number, _ := strconv.Atoi(parts[1])
	switch parts[0] {
	case "bytes":
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Content-Length", parts[1])
		sendPattern(w, number)
	case "stream":
		w.Header().Set("Content-Type", "application/octet-stream")
		w.(http.Flusher).Flush()
		sendPattern(w, number)
	case "status":
		w.Header().Set("ETag", `"abc"`)
		w.WriteHeader(number)
	case "fields":
		w.Header()["Set-Cookie"] = []string{"a=1; Path=/", "b=2"}
		w.Header()["X-MiXeD-CaSe"] = []string{"One", ""}
		io.WriteString(w, "fields")
	case "gzip":
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(pattern)
		z.Close()
		w.Header().Set("Content-Encoding", "gzip")
		w.Write(packed.Bytes())
	case "trailers":
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "content")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "abc")
	default:
		fields := [][2]string{}
		for name, values := range r.Header {
			for _, value := range values {
				if !notCompared[name] {
					fields = append(fields, [2]string{name, value})
				}
			}
		}
		sort.SliceStable(fields, func(i, j int) bool { return fields[i][0] < fields[j][0] })
		text, _ := json.Marshal(map[string]interface{}{"method": r.Method, "target": r.RequestURI,
			"fields": fields, "body": body, "trailers": r.Trailer})
		w.Header().Set("Content-Type", "application/json")
		w.Write(text)
	}
}

func main() {
	if err := http.ListenAndServe(os.Args[1], http.HandlerFunc(answer)); err != nil {
		panic(err)
	}
}
