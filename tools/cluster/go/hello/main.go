// Command hello is what the cluster's own tests run in pods: it serves its host name, fetches a
// URL, or looks a name up, without a shell or a libc.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func serve(address string) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		os.Exit(0)
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		name, _ := os.Hostname()
		fmt.Fprintln(w, name)
	})
	return http.ListenAndServe(address, nil)
}

func get(url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: hello serve ADDRESS | get URL | lookup NAME | write FILE")
		os.Exit(2)
	}
	var err error
	switch argument := os.Args[2]; os.Args[1] {
	case "serve":
		err = serve(argument)
	case "get":
		err = get(argument)
	case "lookup":
		var addresses []string
		addresses, err = net.LookupHost(argument)
		fmt.Println(addresses)
	case "write":
		err = os.WriteFile(argument, []byte("written\n"), 0o644)
	default:
		err = fmt.Errorf("unknown verb %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
