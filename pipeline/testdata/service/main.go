// Command service stands for a database in tests: it greets each connection to PORT with
// GREETING and counts them. With LIFE it prints why it ends and ends, after that time.
package main

import (
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"
)

func main() {
	if life, err := time.ParseDuration(os.Getenv("LIFE")); err == nil {
		time.AfterFunc(life, func() {
			fmt.Fprintln(os.Stderr, "out of memory")
			os.Exit(4)
		})
	}
	l, err := net.Listen("tcp", ":"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	var n atomic.Int64
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(c, "%s %d\n", os.Getenv("GREETING"), n.Add(1))
		c.Close()
	}
}
