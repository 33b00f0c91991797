package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// unchangedRows measures deploys that change nothing, and one that changes
// everything and restarts nothing, so that no pod's own time is in them.
func unchangedRows(ctx context.Context, g *environment, t *table) error {
	for _, objects := range []int{1, 100, 500} {
		e := variant{objects: objects}
		places, err := g.startAll(ctx, t.tools, fmt.Sprintf("n%d", objects), e)
		if err != nil {
			return err
		}
		same := costs{}
		for range g.rounds {
			for _, d := range places {
				if _, err := same.of(ctx, d, d.tool.commands.deploy(d)); err != nil {
					return err
				}
			}
		}
		same.rows(t, "Nothing to change", fmt.Sprintf("%d unchanged objects", objects))
		if objects < 500 {
			continue
		}
		all := costs{}
		for range g.rounds {
			e.revision++
			for _, d := range places {
				if err := d.tool.commands.write(ctx, d, e); err != nil {
					return err
				}
				if _, err := all.of(ctx, d, d.tool.commands.deploy(d)); err != nil {
					return err
				}
			}
		}
		all.rows(t, "Everything to change, no pod to restart", fmt.Sprintf("%d changed objects", objects))
	}
	return nil
}

// startAll makes a deployment of every tool.
func (g *environment) startAll(ctx context.Context, tools []tool, purpose string, e variant) ([]deployment, error) {
	var places []deployment
	for _, tool := range tools {
		d, err := g.start(ctx, tool, purpose, e)
		if err != nil {
			return nil, err
		}
		places = append(places, d)
	}
	return places, nil
}

// costs are time, requests and memory of one kind of deploy, by tool.
type costs struct{ took, requests, memory figures }

// of measures command lines that have to end with 0, and gives their requests too.
func (c *costs) of(ctx context.Context, d deployment, lines [][]string) (deployed, error) {
	if c.took == nil {
		c.took, c.requests, c.memory = figures{}, figures{}, figures{}
	}
	if err := d.audit.skip(); err != nil {
		return deployed{}, err
	}
	m, err := d.must(ctx, lines)
	if err != nil {
		return deployed{}, err
	}
	// The log gets a request when its answer has been sent.
	time.Sleep(100 * time.Millisecond)
	asked, err := d.audit.since(d.tool.commands.agent())
	d.logRequests(m, asked)
	c.took.add(d.tool, m.took().Seconds())
	c.requests.add(d.tool, float64(len(asked)))
	c.memory.add(d.tool, float64(m.MaxRSS))
	return deployed{m, asked}, err
}

// logRequests keeps the last deploy's requests, for whoever keeps the work folder.
func (d deployment) logRequests(m *measured, asked []request) {
	var b strings.Builder
	for _, r := range asked {
		fmt.Fprintf(&b, "%4d ms  %-6s %s\n", r.Received.Sub(m.Start).Milliseconds(), r.Verb, r.RequestURI)
	}
	fmt.Fprintf(&b, "%4d ms  exit\n", m.took().Milliseconds())
	_ = os.WriteFile(filepath.Join(d.dir, d.namespace+".requests"), []byte(b.String()), 0o644)
}

// deployed is one deploy that was measured.
type deployed struct {
	*measured
	asked []request
}

func (c *costs) rows(t *table, section, name string) {
	t.figures(section, name, seconds, c.took)
	t.figures(section, name+": requests to the API server", requests, c.requests)
	t.figures(section, name+": peak memory", kibibyte, c.memory)
}
