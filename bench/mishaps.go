package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// mishapRows measures what happens when two deploy at once, and when one is
// killed and started again.
func mishapRows(ctx context.Context, g *environment, t *table) error {
	twice, again := map[string]string{}, map[string]string{}
	for _, tool := range t.tools {
		text, err := g.twoAtOnce(ctx, tool)
		if err != nil {
			return err
		}
		twice[tool.name] = text
		if again[tool.name], err = g.killed(ctx, tool); err != nil {
			return err
		}
	}
	t.words("Mishaps", "two deploys at once", twice)
	t.words("Mishaps", "SIGKILL after the first change, then the same again", again)
	return nil
}

// twoAtOnce deploys two variants from two folders at the same time and
// compares what each says with what runs.
func (g *environment) twoAtOnce(ctx context.Context, t tool) (string, error) {
	d, err := g.start(ctx, t, "twice", variant{objects: 2})
	if err != nil {
		return "", err
	}
	second := d
	second.folder += "-second"
	places := []deployment{d, second}
	results := make([]*measured, 2)
	errs := make([]error, 2)
	for i, p := range places {
		if err := t.commands.write(ctx, p, variant{objects: 2, revision: i + 1, restart: i + 1}); err != nil {
			return "", err
		}
	}
	var wg sync.WaitGroup
	for i, p := range places {
		wg.Go(func() { results[i], errs[i] = p.measure(ctx, t.commands.deploy(p)) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return "", err
	}
	for i, p := range places {
		p.log(fault(fmt.Sprintf("twice-%d", i)), results[i])
	}
	after, err := d.state(ctx)
	if err != nil {
		return "", err
	}
	return agreed(results, after), nil
}

// agreed says whether those that said that they deployed speak the truth.
func agreed(results []*measured, after state) string {
	said, lies := 0, 0
	var codes []string
	for i, m := range results {
		codes = append(codes, fmt.Sprint(m.Code))
		if m.Code != 0 {
			continue
		}
		said++
		own := fmt.Sprintf("r%d", i+1)
		if after.revision != own || after.deployment.Spec.Template.Annotations["restart"] != own {
			lies++
		}
	}
	codesText := "exits " + strings.Join(codes, " and ")
	switch {
	case said == 2:
		return fmt.Sprintf("%s: both say success, %d of them runs", codesText, 2-lies)
	case said == 1 && lies == 0:
		return codesText + ": one is refused, the other runs"
	case said == 1:
		return codesText + ": one says success and does not run"
	default:
		return codesText + ": neither says success"
	}
}

// killed kills a deploy as soon as it has changed the Deployment, and starts it again.
func (g *environment) killed(ctx context.Context, t tool) (string, error) {
	d, err := g.start(ctx, t, "killed", variant{objects: 2})
	if err != nil {
		return "", err
	}
	if err := t.commands.write(ctx, d, variant{objects: 2, image: 1, revision: 1}); err != nil {
		return "", err
	}
	s, err := g.watch(ctx, d.namespace, d.images[1])
	if err != nil {
		return "", err
	}
	defer s.stop()
	doomed, kill := context.WithCancel(ctx)
	defer kill()
	go func() {
		select {
		case <-s.changed:
			kill()
		case <-doomed.Done():
		}
	}()
	if m, err := d.measure(doomed, t.commands.deploy(d)); err == nil {
		return fmt.Sprintf("ended with %d before it could be killed", m.Code), nil
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	m, err := d.measure(ctx, t.commands.deploy(d))
	if err != nil {
		return "", err
	}
	d.log("killed", m)
	text := fmt.Sprintf("exit %d after %s", m.Code, seconds.text(m.took().Seconds()))
	if m.Code != 0 {
		lines := strings.Split(strings.TrimSpace(m.Out.String()), "\n")
		text += ": " + strings.ReplaceAll(clip(lines[len(lines)-1], 120), "|", "/")
	}
	return text, nil
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
