// Command load posts one review again and again over N TLS connections that are kept, and prints what it measured as one line of JSON.
//
// It speaks HTTP/1.1 by hand: net/http's client costs about as much as the server that is measured here. Each connection waits for an answer
// before it asks again, as an API server's do. Answers are held against -expect, so that an error page is no fast decision.
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The beginning of a run, in which connections are made, does not count.
const warmUp = 0.15

type result struct {
	Requests  int     `json:"requests"`
	PerSecond float64 `json:"perSecond"`
	P50Micros float64 `json:"p50Micros"`
	P99Micros float64 `json:"p99Micros"`
	Sent      int     `json:"sent"`
	Failures  int     `json:"failures"`
	Failure   string  `json:"failure,omitempty"`
}

type worker struct {
	latencies []time.Duration
	sent      int
	err       error
}

func main() {
	address := flag.String("address", "127.0.0.1:8443", "HOST:PORT")
	authority := flag.String("ca", "", "PEM file of the authority")
	body := flag.String("body", "", "file with the review")
	expect := flag.String("expect", "", "what every answer must contain")
	connections := flag.Int("c", 1, "connections")
	duration := flag.Duration("d", time.Second, "how long")
	flag.Parse()

	request, config, err := prepare(*address, *authority, *body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	began := time.Now()
	counting, end := began.Add(time.Duration(warmUp*float64(*duration))), began.Add(*duration)
	workers := make([]worker, *connections)
	var all sync.WaitGroup
	for index := range workers {
		all.Go(func() { workers[index].run(*address, config, request, []byte(*expect), counting, end) })
	}
	all.Wait()
	out, _ := json.Marshal(summary(workers, end.Sub(counting)))
	fmt.Println(string(out))
}

func prepare(address, authority, body string) ([]byte, *tls.Config, error) {
	pem, err := os.ReadFile(authority)
	if err != nil {
		return nil, nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, nil, fmt.Errorf("%s holds no certificate", authority)
	}
	review, err := os.ReadFile(body)
	if err != nil {
		return nil, nil, err
	}
	var request bytes.Buffer
	// The headers that an API server sends.
	fmt.Fprintf(&request, "POST /validate?timeout=10s HTTP/1.1\r\nHost: %s\r\nUser-Agent: kube-apiserver-admission\r\n", address)
	fmt.Fprintf(&request, "Content-Length: %d\r\nAccept: application/json, */*\r\nContent-Type: application/json\r\n", len(review))
	request.WriteString("Accept-Encoding: gzip\r\n\r\n")
	request.Write(review)
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
	return request.Bytes(), config, nil
}

func (w *worker) run(address string, config *tls.Config, request, expect []byte, counting, end time.Time) {
	connection, err := tls.Dial("tcp", address, config)
	if err != nil {
		w.err = err
		return
	}
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 64<<10)
	answer := make([]byte, 0, 64<<10)
	for {
		began := time.Now()
		if began.After(end) {
			return
		}
		w.sent++
		if _, w.err = connection.Write(request); w.err != nil {
			return
		}
		if answer, w.err = read(reader, answer); w.err != nil {
			return
		}
		done := time.Now()
		if !bytes.Contains(answer, expect) {
			w.err = fmt.Errorf("an answer without %q: %.200s", expect, answer)
			return
		}
		if began.After(counting) && done.Before(end) {
			w.latencies = append(w.latencies, done.Sub(began))
		}
	}
}

// read takes one answer with a Content-Length and returns its body.
func read(reader *bufio.Reader, into []byte) ([]byte, error) {
	lines := textproto.NewReader(reader)
	status, err := lines.ReadLine()
	if err != nil {
		return nil, err
	}
	length := -1
	for {
		line, err := lines.ReadLine()
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		if strings.EqualFold(name, "content-length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return nil, err
			}
		}
	}
	if length < 0 {
		return nil, fmt.Errorf("an answer without a length: %s", status)
	}
	into = slices.Grow(into[:0], length)[:length]
	if _, err := io.ReadFull(reader, into); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 200 ") {
		return nil, fmt.Errorf("%s: %.200s", status, into)
	}
	return into, nil
}

func summary(workers []worker, counted time.Duration) result {
	var sum result
	var all []time.Duration
	for _, worker := range workers {
		all = append(all, worker.latencies...)
		sum.Sent += worker.sent
		if worker.err != nil {
			sum.Failures++
			sum.Failure = worker.err.Error()
		}
	}
	sum.Requests = len(all)
	sum.PerSecond = float64(len(all)) / counted.Seconds()
	if len(all) > 0 {
		slices.Sort(all)
		sum.P50Micros = micros(all[len(all)/2])
		sum.P99Micros = micros(all[len(all)*99/100])
	}
	return sum
}

func micros(duration time.Duration) float64 {
	return float64(duration.Nanoseconds()) / 1000
}
