/* A thread that flushes files and never takes the interpreter's lock.

   A Python thread has to take the lock twice for each flush, from an event loop that lets it go and takes it again with
   every system call: woken each time and too late nearly each time, both pay for it.  This one reads descriptors from a
   pipe, flushes them and writes how that ended to another pipe, so that the loop hears of it as of any socket. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

struct pipes {
    int requests;
    int results;
};

static void *flush_loop(void *argument) {
    struct pipes pipes = *(struct pipes *)argument;
    int fd, error;

    PyMem_RawFree(argument);
    while (read(pipes.requests, &fd, sizeof fd) == sizeof fd) {
        error = fdatasync(fd) ? errno : 0;
        if (write(pipes.results, &error, sizeof error) != sizeof error)
            break;
    }
    close(pipes.requests);
    close(pipes.results);
    return NULL;
}

static int start_thread(struct pipes *pipes) {
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, before;
    int error = pthread_attr_init(&attributes);

    if (error)
        return error;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    /* Signals are for the interpreter's threads. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    error = pthread_create(&thread, &attributes, flush_loop, pipes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

static PyObject *start(PyObject *Py_UNUSED(module), PyObject *arguments) {
    struct pipes *pipes = PyMem_RawMalloc(sizeof *pipes);
    int error;

    if (pipes == NULL)
        return PyErr_NoMemory();
    if (!PyArg_ParseTuple(arguments, "ii:start", &pipes->requests, &pipes->results)) {
        PyMem_RawFree(pipes);
        return NULL;
    }
    error = start_thread(pipes);
    if (error) {
        PyMem_RawFree(pipes);
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(start_doc,
             "start(requests_fd, results_fd)\n--\n\n"
             "Start a thread that owns both descriptors, the reading end of one pipe and the writing end of another.\n\n"
             "Each C int that it reads is a descriptor to fdatasync; each C int that it writes is 0 or an errno, in\n"
             "the same order.  It ends when the requests do.  Raises OSError; the descriptors are then the caller's.");

static PyMethodDef methods[] = {{"start", start, METH_VARARGS, start_doc}, {NULL, NULL, 0, NULL}};

static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "flush_loop", NULL, 0, methods};

PyMODINIT_FUNC PyInit_flush_loop(void) { return PyModule_Create(&definition); }
