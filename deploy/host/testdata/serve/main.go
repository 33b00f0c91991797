// Command serve stands for a worker in tests: it serves the file "version" of
// its directory on PORT. The file "mode" changes how: crash, silent, deaf (to
// SIGTERM), slow (to stop, until /run/serve.stop is there), late (to listen), brief (in
// its life), dying (a while after it served and /run/serve.die was there).
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("serve 1.3.9")
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
}

func run() error {
	mode := read("mode")
	fmt.Println("starting with", os.Getenv("SECRET"))
	if mode == "crash" {
		return errors.New("Cannot find module @sample/clock")
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	server := &http.Server{Addr: "127.0.0.1:" + os.Getenv("PORT")}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s pid %d", read("version"), os.Getpid())
	})
	failed := make(chan error, 1)
	if mode == "brief" {
		time.Sleep(400 * time.Millisecond)
		return errors.New("Cannot find module @sample/clock")
	}
	if mode == "late" {
		time.Sleep(1500 * time.Millisecond)
	}
	if mode != "silent" {
		go func() { failed <- server.ListenAndServe() }()
	}
	dying := make(chan bool)
	if mode == "dying" {
		go func() {
			await("/run/serve.die")
			time.Sleep(1200 * time.Millisecond)
			close(dying)
		}()
	}
	for {
		select {
		case err := <-failed:
			return err
		case <-dying:
			return errors.New("lost its database")
		case <-term:
		}
		switch mode {
		case "deaf":
			continue
		case "slow":
			await("/run/serve.stop")
		}
		return server.Shutdown(context.Background())
	}
}

// await waits until there is a file, for a minute at most.
func await(file string) {
	for range 1200 {
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func read(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
