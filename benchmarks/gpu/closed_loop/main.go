// Command closed_loop is the light client of ../truth.py: each stream sends its next request when one ends.
//
// Settings are JSON in its argument. Every 250 ms it writes how many streams have ended their first request,
// and when further ones that have ended were sent. Once its input is closed, each stream ends its request,
// and the last line has all answers. Times are seconds of CLOCK_MONOTONIC.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"math/rand"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

type settings struct {
	URL         string    `json:"url"`
	Model       string    `json:"model"`
	Input       int       `json:"input"`
	Output      int       `json:"output"`
	Vocabulary  int       `json:"vocabulary"`
	Seed        int64     `json:"seed"`
	Delays      []float64 `json:"delays"`
	Temperature float64   `json:"temperature"`
	Fresh       bool      `json:"fresh"`
}

type answer struct {
	Sent         float64   `json:"sent"`
	FirstToken   float64   `json:"first_token"`
	LastToken    float64   `json:"last_token"`
	Tokens       int       `json:"tokens"`
	Events       int       `json:"events"`
	SilentEvents int       `json:"silent_events"`
	First        bool      `json:"first_of_stream"`
	Error        string    `json:"error"`
	Stamps       []float64 `json:"stamps"`
}

var (
	began = time.Now()
	base  = monotonic()
)

// monotonic is CLOCK_MONOTONIC in seconds, which Python's time.monotonic is.
func monotonic() float64 {
	var now syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&now)), 0)
	return float64(now.Sec) + float64(now.Nsec)/1e9
}

func now() float64 { return base + time.Since(began).Seconds() }

func ask(client *http.Client, set settings, random *rand.Rand, first bool) (found answer) {
	length := set.Output*3/4 + random.Intn(set.Output/2+1)
	if first {
		length = 1 + random.Intn(set.Output)
	}
	prompt := make([]int, set.Input)
	for index := range prompt {
		prompt[index] = 1000 + random.Intn(set.Vocabulary-1000)
	}
	body, _ := json.Marshal(map[string]any{
		"model": set.Model, "prompt": prompt, "max_tokens": length, "min_tokens": length, "ignore_eos": true,
		"temperature": set.Temperature, "stream": true, "stream_options": map[string]bool{"include_usage": true},
	})
	found = answer{Sent: now(), First: first}
	reply, err := client.Post(set.URL+"/v1/completions", "application/json", bytes.NewReader(body))
	if err != nil {
		found.Error = err.Error()
		return
	}
	defer reply.Body.Close()
	if reply.StatusCode != 200 {
		found.Error = reply.Status
		return
	}
	lines := bufio.NewReaderSize(reply.Body, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if at := now(); bytes.HasPrefix(line, []byte("data: {")) {
			var event struct {
				Choices []struct {
					Text string `json:"text"`
				} `json:"choices"`
				Usage *struct {
					CompletionTokens int `json:"completion_tokens"`
				} `json:"usage"`
			}
			if json.Unmarshal(line[6:], &event) == nil {
				if len(event.Choices) > 0 {
					found.Events++
					if event.Choices[0].Text == "" {
						found.SilentEvents++
					}
					if found.Events == 1 {
						found.FirstToken = at
					}
					found.LastToken = at
					found.Stamps = append(found.Stamps, at-found.Sent)
				}
				if event.Usage != nil {
					found.Tokens = event.Usage.CompletionTokens
				}
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			found.Error = err.Error()
			return
		}
	}
	if found.Tokens == 0 {
		found.Error = "the stream ended without usage"
	}
	return
}

func main() {
	var set settings
	if err := json.Unmarshal([]byte(os.Args[1]), &set); err != nil {
		panic(err)
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: len(set.Delays), DisableCompression: true, DisableKeepAlives: set.Fresh}}
	var lock sync.Mutex
	var streams sync.WaitGroup
	answers, stop := []answer{}, make(chan struct{})
	for index, delay := range set.Delays {
		streams.Add(1)
		go func() {
			defer streams.Done()
			random := rand.New(rand.NewSource(set.Seed*100000 + int64(index)))
			time.Sleep(time.Duration(delay * 1e9))
			for first := true; ; first = false {
				select {
				case <-stop:
					return
				default:
				}
				found := ask(client, set, random, first)
				lock.Lock()
				answers = append(answers, found)
				lock.Unlock()
				if found.Error != "" {
					time.Sleep(200 * time.Millisecond)
				}
			}
		}()
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	out := json.NewEncoder(os.Stdout)
	told := 0
	for range time.Tick(250 * time.Millisecond) {
		select {
		case <-stop:
			streams.Wait()
			out.Encode(map[string]any{"answers": answers})
			return
		default:
		}
		lock.Lock()
		ended, sent := 0, []float64{}
		for _, one := range answers {
			if one.First {
				ended++
			}
		}
		for _, one := range answers[told:] {
			if !one.First {
				sent = append(sent, one.Sent)
			}
		}
		told = len(answers)
		lock.Unlock()
		out.Encode(map[string]any{"ended": ended, "sent": sent})
	}
}
