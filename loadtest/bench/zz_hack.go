package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// childCPU is utime+stime ticks by child
func childCPU() map[string]float64 {
	out := map[string]float64{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		s := string(b)
		i := strings.LastIndex(s, ")")
		fs := strings.Fields(s[i+1:])
		if len(fs) < 15 || fs[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		u, _ := strconv.ParseFloat(fs[11], 64)
		k, _ := strconv.ParseFloat(fs[12], 64)
		cl, _ := os.ReadFile(filepath.Dir(f) + "/cmdline")
		cs := strings.ReplaceAll(string(cl), "\x00", " ")
		name := "?"
		for _, w := range []string{"nats-server", "redis", "\"handler service\"", "\"plain\"", "\"arrakis-services\""} {
			if strings.Contains(cs, w) {
				name = w
				break
			}
		}
		ctx, _ := os.ReadFile(filepath.Dir(f) + "/status")
		_ = ctx
		out[name] = (u + k) * 1e4
		// context switches over threads
		tasks, _ := filepath.Glob(filepath.Dir(f) + "/task/*/status")
		for _, tf := range tasks {
			tb, _ := os.ReadFile(tf)
			for _, l := range strings.Split(string(tb), "\n") {
				if strings.Contains(l, "ctxt_switches") {
					p := strings.Fields(l)
					v, _ := strconv.ParseFloat(p[1], 64)
					out[name+" csw"] += v
				}
			}
		}
		io, _ := os.ReadFile(filepath.Dir(f) + "/io")
		for _, l := range strings.Split(string(io), "\n") {
			if strings.HasPrefix(l, "syscr") || strings.HasPrefix(l, "syscw") {
				p := strings.Fields(l)
				v, _ := strconv.ParseFloat(p[1], 64)
				out[name+" "+p[0]] += v
			}
		}
	}
	return out
}

func diffCPU(a, b map[string]float64, n float64) string {
	var t []string
	for _, w := range []string{"nats-server", "\"handler service\"", "\"plain\"", "\"arrakis-services\""} {
		if _, ok := b[w]; !ok {
			continue
		}
		t = append(t, fmt.Sprintf("%s cpu %.1f csw %.2f r %.2f w %.2f", w, (b[w]-a[w])/n, (b[w+" csw"]-a[w+" csw"])/n, (b[w+" syscr:"]-a[w+" syscr:"])/n, (b[w+" syscw:"]-a[w+" syscw:"])/n))
	}
	return strings.Join(t, " | ")
}
