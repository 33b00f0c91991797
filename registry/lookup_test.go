package registry

import (
	"context"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What a registry holds, as the tests ask for it.

func headOf(c *Client, ctx context.Context, ref string) (v1.Descriptor, error) {
	r, s, err := c.reader(ctx, ref)
	if err != nil {
		return v1.Descriptor{}, err
	}
	return c.head(ctx, s, r)
}

func resolve(c *Client, ctx context.Context, ref string) (string, error) {
	d, err := headOf(c, ctx, ref)
	if err != nil {
		return "", err
	}
	return d.Digest.String(), nil
}

func exists(c *Client, ctx context.Context, ref string) (bool, error) {
	_, err := headOf(c, ctx, ref)
	var none *NotFoundError
	if errors.As(err, &none) {
		return false, nil
	}
	return err == nil, err
}

func imageOf(c *Client, ctx context.Context, ref string) (v1.Image, error) {
	a, err := c.Artifact(ctx, ref)
	if err != nil {
		return nil, err
	}
	image, ok := a.(v1.Image)
	if !ok {
		return nil, fmt.Errorf("%s is not an image", ref)
	}
	return image, nil
}
