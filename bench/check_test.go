package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// twoTools is a table of one section in which shipit takes so long and kubectl a second.
func twoTools(own float64) *table {
	t := &table{tools: []tool{{name: "shipit"}, {name: "kubectl"}}, limit: 15 * time.Second}
	t.figures("Section", "took", seconds, figures{"shipit": {own}, "kubectl": {1}})
	return t
}

func TestARatioThatIsAFifthWorseIsARegression(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ratios.json")
	require.NoError(t, twoTools(0.5).record(file))
	require.NoError(t, twoTools(0.5).check(file))
	require.NoError(t, twoTools(0.59).check(file), "18 % worse")
	require.NoError(t, twoTools(0.2).check(file), "better")
	require.ErrorContains(t, twoTools(0.61).check(file), "Section: took: 0.61 of the best peer's, recorded 0.50: 22 % worse")

	quick := &table{tools: twoTools(1).tools}
	quick.figures("Section", "took", seconds, figures{"shipit": {0.013}, "kubectl": {0.01}})
	require.NoError(t, quick.record(file))
	quick.rows[0].values["shipit"] = 0.025
	require.NoError(t, quick.check(file), "12 ms are the scheduler's")
	quick.rows[0].unit = requests
	require.ErrorContains(t, quick.check(file), "92 % worse")
}

func TestWhatIsRecordedAndWasNotMeasuredIsSaid(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ratios.json")
	whole := twoTools(0.5)
	whole.figures("Section", "memory", kibibyte, figures{"shipit": {1}, "kubectl": {1}})
	whole.figures("Elsewhere", "took", seconds, figures{"shipit": {1}, "kubectl": {1}})
	require.NoError(t, whole.record(file))
	part := twoTools(0.5)
	err := part.check(file)
	require.ErrorContains(t, err, "Section: memory: is recorded and was not measured")
	require.NotContains(t, err.Error(), "Elsewhere", "that section was not run")

	whole.skipped = []string{"nobody: never measured"}
	require.NoError(t, whole.record(file))
	whole.skipped = append(whole.skipped, "kubectl: no network")
	err = whole.check(file)
	require.ErrorContains(t, err, "kubectl: no network: the recorded ratios are against it too")
	require.NotContains(t, err.Error(), "nobody")

	require.NoError(t, os.WriteFile(file, []byte("{"), 0o644))
	require.ErrorContains(t, part.check(file), "ratios.json")
}

func TestTheRecordedRatiosAreOnesThatTheBenchReads(t *testing.T) {
	if _, err := os.Stat(ratiosFile); err != nil {
		t.Skip("nothing is recorded")
	}
	none := &table{}
	require.NoError(t, none.check(ratiosFile), "no section was run")
}

// charted is a table with all kinds of rows that a picture has.
func charted() *table {
	t := &table{tools: []tool{{name: "shipit"}, {name: "kubectl"}}, limit: 15 * time.Second}
	t.figures("Section", "a <row> & more", seconds, figures{"shipit": {0.5}, "kubectl": {2}})
	t.figures("Section", "last pod ready to exit", seconds, figures{"shipit": {0.7}, "kubectl": {3}})
	t.figures("Section", "memory", kibibyte, figures{"shipit": {1}, "kubectl": {1}})
	t.words("What cannot work", "crash loop", map[string]string{"shipit": "2.00 s, exit 5", "kubectl": ">15 s"})
	t.rows[len(t.rows)-1].causes = map[string]float64{"shipit": 1.5}
	return t
}

func TestThePictureIsWellFormedAndTrueToTheTable(t *testing.T) {
	for _, p := range palettes() {
		text := charted().chart(p)
		var widths []int
		var words bytes.Buffer
		for d := xml.NewDecoder(bytes.NewReader(text)); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			switch token := token.(type) {
			case xml.CharData:
				words.Write(token)
			case xml.StartElement:
				if token.Name.Local == "rect" {
					widths = append(widths, widthOf(t, token))
				}
			}
		}
		require.Equal(t, []int{chartBars / 4, chartBars, chartBars / 10, chartBars}, widths)
		for _, has := range []string{"a <row> & more", "0.50 s", "2.00 s", "crash loop", "1.50 s", "not in 15 s"} {
			require.Contains(t, words.String(), has)
		}
		require.NotContains(t, words.String(), "last pod ready", "it is a part of another row")
		require.NotContains(t, words.String(), "memory")
	}
	light, dark := charted().chart(palettes()[0]), charted().chart(palettes()[1])
	require.NotEqual(t, light, dark)
}

func widthOf(t *testing.T, e xml.StartElement) int {
	t.Helper()
	for _, a := range e.Attr {
		if a.Name.Local == "width" {
			n, err := strconv.Atoi(a.Value)
			require.NoError(t, err)
			return n
		}
	}
	require.Fail(t, "no width", fmt.Sprint(e))
	return 0
}

func TestPicturesStandBesideTheDocument(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, charted().draw(filepath.Join(dir, "benchmarks.md")))
	for _, name := range []string{"benchmarks-light.svg", "benchmarks-dark.svg"} {
		require.FileExists(t, filepath.Join(dir, name))
	}
}

func TestThePictureHasRoomForTheNameOfEveryTool(t *testing.T) {
	const letter = 6.6 // pixels of a letter, on average
	for _, name := range []string{todaysWay, tarWay, rsyncWay, plainWay} {
		require.LessOrEqual(t, letter*float64(len(name)), float64(chartLeft-8), name)
	}
}

func TestThePictureSaysOfWhichTreeTheLayersAre(t *testing.T) {
	took := map[string]float64{"shipit": 1, tarWay: 2}
	table := &table{rows: []row{{section: layersSection + ": small", name: "all", unit: seconds, values: took, columns: []tool{{name: "shipit"}, {name: tarWay}}}}}
	require.Equal(t, layersSection+": small: all", table.wallTimes()[0].title)
}
