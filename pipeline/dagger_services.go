package pipeline

import (
	"context"
	"errors"
	"time"

	"dagger.io/dagger"

	"github.com/joelhooks/shipit/config"
	"github.com/joelhooks/shipit/pipeline/engine"
	"github.com/joelhooks/shipit/release"
)

// daggerTests runs the tests of the inputs in an engine, and takes nothing out of it.
func daggerTests(e *engine.Engine, opts Options) tester {
	return func(ctx context.Context, in Inputs, list []platform) (results []TestResult, err error) {
		r, done, err := openDagger(ctx, in, daggerRun{engine: e, client: e.Client, opts: opts})
		if err != nil {
			return nil, err
		}
		defer done()
		all, err := r.batches(ctx, in, list)
		if err != nil {
			return nil, err
		}
		all = tested(all)
		err = eachBatch(all, opts, func(b batch) error {
			one, err := r.of(ctx, b)
			if err != nil {
				return err
			}
			p := dagger.Platform(b.on)
			c, err := one.commands(ctx, one.container(p), p)
			if err != nil {
				return err
			}
			ran, err := one.tests(ctx, c, p)
			if len(all) > 1 {
				for i := range ran {
					ran[i].Platform = b.names[0]
				}
			}
			results = append(results, ran...)
			return err
		})
		return results, err
	}
}

// tests runs the image's tests in the container that the commands left, with its
// services.
func (r daggerRun) tests(ctx context.Context, built *dagger.Container, p dagger.Platform) ([]TestResult, error) {
	if len(r.in.Image.Test) == 0 {
		return nil, nil
	}
	r.opts.Progress = ofTests(r.opts.Progress)
	built, stop, err := r.withServices(ctx, built)
	defer stop()
	if err != nil {
		return nil, err
	}
	return tests{image: r.in.Image, progress: r.opts.Progress, run: func(ctx context.Context, args []string, progress release.Progress) error {
		one := r
		one.opts.Progress = progress
		after, err := one.run(ctx, built, args, p)
		if err == nil && !r.in.Image.Parallel {
			built = after
		}
		return err
	}}.all(ctx)
}

// withServices starts the image's services and gives them to the container, by their
// names. stop ends those that were started; call it in any case.
func (r daggerRun) withServices(ctx context.Context, c *dagger.Container) (with *dagger.Container, stop func(), err error) {
	var started []*dagger.Service
	stop = func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		defer cancel()
		for _, s := range started {
			_, _ = s.Stop(limited, dagger.ServiceStopOpts{Kill: true}) // it ends with the session otherwise
		}
	}
	for _, name := range serviceNames(r.in.Image) {
		config := r.in.Image.Services[name]
		service, began := r.service(config), time.Now()
		r.opts.report(release.MarkStart, "start the service %s", name)
		limited, cancel := within(ctx, config)
		_, err := service.Start(limited)
		if err == nil {
			started = append(started, service)
			c = c.WithServiceBinding(name, service)
			for _, v := range sortedVariables(serviceVariables(name, name, config)) {
				c = c.WithEnvVariable(v.name, v.value)
			}
		}
		cause := context.Cause(limited)
		cancel()
		if err == nil {
			cause, err = r.ready(ctx, c, config)
		}
		if err != nil {
			return nil, stop, r.explainService(ctx, name, err, cause)
		}
		r.opts.Progress.Report(release.Event{Phase: release.PhaseBuild, Mark: release.MarkDone, Message: "service " + name + " is ready", Took: time.Since(began)})
	}
	return c, stop, nil
}

// stopLimit is how long services may take to stop.
const stopLimit = 5 * time.Second

// service is what the engine runs. It takes connections on its ports when it has started.
func (r daggerRun) service(s config.Service) *dagger.Service {
	c := r.client.Container()
	if r.opts.rootfs != "" {
		c = c.WithRootfs(r.client.Host().Directory(r.opts.rootfs))
	} else {
		c = c.From(s.Image)
	}
	// An engine runs equal services of a client once, and one image would end another's.
	c = c.WithEnvVariable("SHIPIT_SERVICE_OF", r.in.app+"/"+r.in.Name)
	for _, v := range sortedVariables(s.Env) {
		c = c.WithEnvVariable(v.name, v.value)
	}
	for _, port := range s.Ports {
		c = c.WithExposedPort(port)
	}
	return c.AsService(dagger.ContainerAsServiceOpts{Args: s.Args, UseEntrypoint: true})
}

// ready waits for the command that asks a service. The engine must not know its result
// from an earlier run. cause is why its time was over, if it was.
func (r daggerRun) ready(ctx context.Context, c *dagger.Container, s config.Service) (cause, err error) {
	if len(s.Ready) == 0 {
		return nil, nil
	}
	ctx, cancel := asking(ctx, s)
	defer cancel()
	_, err = c.WithEnvVariable("SHIPIT_NO_CACHE", r.salt).WithExec(r.opts.around.shell(untilReady(s))).Sync(ctx)
	return context.Cause(ctx), err
}

// explainService is why a service is not ready; cause is why its time was over, if it was.
func (r daggerRun) explainService(ctx context.Context, name string, err, cause error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if cause != nil {
		return &ServiceError{Name: name, Err: cause}
	}
	err = r.explain(ctx, err)
	var broken *engine.BrokenError
	if errors.As(err, &broken) {
		return err
	}
	return notReady(ctx, name, err)
}
