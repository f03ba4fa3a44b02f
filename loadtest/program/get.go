package program

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Get returns nil if the URL answers 200 within a second. token is a bearer token, "" for none.
func Get(ctx context.Context, url, token string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	body, err := Fetch(ctx, url, token)
	if err != nil {
		return err
	}
	return body.Close()
}

// Fetch returns the body of a URL that answers 200, which the caller must close. token is a bearer token, "" for none.
func Fetch(ctx context.Context, url, token string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // only for the error
		_ = resp.Body.Close()                                 // it is read
		return nil, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return resp.Body, nil
}
