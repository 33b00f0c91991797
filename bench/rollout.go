package main

import (
	"context"
	"fmt"
)

// imageRows measures a new image until its pods are ready.
func imageRows(ctx context.Context, g *environment, t *table) error {
	places, err := g.startAll(ctx, t.tools, "image", variant{objects: 1})
	if err != nil {
		return err
	}
	c := newRolloutCosts()
	for round := range g.rounds {
		e := variant{objects: 1, image: (round + 1) % 2}
		for _, d := range places {
			if err := d.tool.commands.write(ctx, d, e); err != nil {
				return err
			}
			if err := c.measure(ctx, d, d.tool.commands.deploy(d), e); err != nil {
				return err
			}
		}
	}
	c.rows(t, "A new image, until it is ready", "new image")
	return nil
}

// rollbackRows measures the way back to the image before.
func rollbackRows(ctx context.Context, g *environment, t *table) error {
	before := variant{objects: 1}
	places, err := g.startAll(ctx, t.tools, "rollback", before)
	if err != nil {
		return err
	}
	c := newRolloutCosts()
	for range g.rounds {
		for _, d := range places {
			// The same files again are what kapp goes back to.
			for _, e := range []variant{before, {objects: 1, image: 1}} {
				if err := d.mustDeploy(ctx, e); err != nil {
					return err
				}
			}
			if err := c.measure(ctx, d, d.tool.commands.rollback(d), before); err != nil {
				return err
			}
		}
	}
	c.rows(t, "Back to the image before", "rollback")
	return nil
}

// rolloutCosts are the costs of a rollout and its moments, by tool.
type rolloutCosts struct {
	costs
	first, ready, complete, own figures

	early map[string]int // how often a tool ended before the last pod was ready
}

func newRolloutCosts() *rolloutCosts {
	return &rolloutCosts{first: figures{}, ready: figures{}, complete: figures{}, own: figures{}, early: map[string]int{}}
}

// measure runs command lines that roll an variant out.
func (c *rolloutCosts) measure(ctx context.Context, d deployment, lines [][]string, e variant) error {
	s, err := d.watch(ctx, d.namespace, d.images[e.image])
	if err != nil {
		return err
	}
	defer s.stop()
	m, err := c.of(ctx, d, lines)
	if err != nil {
		return err
	}
	first := firstChange(m.asked)
	c.first.between(d.tool, m.Start, first)
	last, complete := s.last(), s.completed()
	if last.IsZero() || last.After(m.End) {
		c.early[d.tool.name]++
		// What it has left under way must not be in the next round's figures.
		return d.settled(ctx)
	}
	c.ready.between(d.tool, last, m.End)
	if complete.Before(m.End) {
		c.complete.between(d.tool, complete, m.End)
	}
	if !first.IsZero() {
		c.own.add(d.tool, (first.Sub(m.Start) + m.End.Sub(last)).Seconds())
	}
	return nil
}

func (c *rolloutCosts) rows(t *table, section, name string) {
	t.figures(section, name+", all in all", seconds, c.took)
	t.figures(section, "without the pods' own time", seconds, c.own)
	t.figures(section, "start to first change in the cluster", seconds, c.first)
	t.figures(section, "last pod ready to exit", seconds, c.ready)
	early := map[string]string{}
	for _, tool := range t.tools {
		early[tool.name] = "no"
		if n := c.early[tool.name]; n > 0 {
			early[tool.name] = fmt.Sprintf("**%d of %d times**", n, t.rounds)
		}
	}
	t.words(section, "says success before the last pod is ready", early)
	t.figures(section, "Deployment complete to exit", seconds, c.complete)
	t.figures(section, "requests to the API server", requests, c.requests)
	t.figures(section, "peak memory", kibibyte, c.memory)
}
