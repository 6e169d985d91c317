// Builds the console into ../dist, which is committed: `cargo build` embeds it and needs neither Node.js nor a network.
//
// Two builds of the same sources are equal byte for byte (scripts/console-check). The names of the files are stable, except those of
// the scripts that an open page loads later: with a hash of the content in the name, it never gets one of another version, whose
// imports would mean something else, but 404.
import { defineConfig } from 'vite';

export default defineConfig({
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../dist',
    emptyOutDir: true,
    target: ['chrome111', 'firefox115', 'safari16.4'],
    // The polyfill would only add bytes: all targets know modulepreload.
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0,
    cssCodeSplit: false,
    reportCompressedSize: false,
    rollupOptions: {
      output: {
        entryFileNames: 'console.js',
        chunkFileNames: '[name]-[hash].js',
        hashCharacters: 'hex',
        assetFileNames: ({ names }) => (names.some((name) => name.endsWith('.css')) ? 'console.css' : '[name][extname]'),
      },
    },
  },
  worker: {
    format: 'es',
    rollupOptions: { output: { entryFileNames: 'tail-worker.js' } },
  },
});
