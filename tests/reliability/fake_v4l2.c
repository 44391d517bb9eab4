/* A USB camera without a driver: answers the V4L2 calls of a program that is started with this in
 * LD_PRELOAD, for the device that FAKE_V4L2_DEVICE names. It gives YUYV pictures that move, or, with
 * FAKE_V4L2_JPEG naming a file, that file again and again; 25 per second. While the file exists that
 * FAKE_V4L2_GONE names, it is unplugged.
 *
 * The calls: Linux Media Subsystem documentation, part "Video for Linux API". */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { BUFFERS = 4, FPS = 25, ROOM = 1 << 20 };

static int device = -1, queue[BUFFERS], queued;
static unsigned width = 320, height = 180, shown;
static unsigned char *pictures;

static int is_ours(const char *path) {
    const char *name = getenv("FAKE_V4L2_DEVICE");
    return name && path && !strcmp(name, path);
}

static int gone(int error) {
    const char *name = getenv("FAKE_V4L2_GONE");
    if (!name || access(name, F_OK)) return 0;
    errno = error;
    return 1;
}

static int open_ours(void) {
    if (gone(ENOENT)) return -1;
    queued = 0;
    int memory = memfd_create("fake-v4l2", 0);
    if (ftruncate(memory, BUFFERS * ROOM)) return -1;
    pictures = mmap(0, BUFFERS * ROOM, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    /* FFmpeg maps the buffers from the device itself, which is this memory. */
    return device = memory;
}

static unsigned paint(unsigned char *at) {
    const char *jpeg = getenv("FAKE_V4L2_JPEG");
    if (jpeg) {
        FILE *file = fopen(jpeg, "rb");
        unsigned size = file ? fread(at, 1, ROOM, file) : 0;
        if (file) fclose(file);
        return size;
    }
    for (unsigned y = 0; y < height; y++)
        for (unsigned x = 0; x < width; x++) {
            at[2 * (y * width + x)] = 16 + (x + y + 5 * shown) % 200; /* brightness */
            at[2 * (y * width + x) + 1] = 128;
        }
    return width * height * 2;
}

static int dequeue(struct v4l2_buffer *buffer) {
    struct timespec now, tick = {0, 1000000000L / FPS};
    nanosleep(&tick, 0);
    if (gone(ENODEV)) return -1;
    clock_gettime(CLOCK_MONOTONIC, &now);
    buffer->index = queue[0];
    memmove(queue, queue + 1, --queued * sizeof *queue);
    buffer->bytesused = paint(pictures + buffer->index * ROOM);
    buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    buffer->timestamp.tv_sec = now.tv_sec;
    buffer->timestamp.tv_usec = now.tv_nsec / 1000;
    buffer->sequence = shown++;
    return 0;
}

static void tell_format(struct v4l2_pix_format *pix) {
    int jpeg = getenv("FAKE_V4L2_JPEG") != 0;
    pix->width = width;
    pix->height = height;
    pix->pixelformat = jpeg ? V4L2_PIX_FMT_MJPEG : V4L2_PIX_FMT_YUYV;
    pix->field = V4L2_FIELD_NONE;
    pix->bytesperline = jpeg ? 0 : 2 * width;
    pix->sizeimage = jpeg ? ROOM : 2 * width * height;
}

static int answer(unsigned long request, void *what) {
    switch ((unsigned)request) {
    case VIDIOC_QUERYCAP: {
        struct v4l2_capability *cap = what;
        strcpy((char *)cap->driver, "fake");
        cap->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    }
    case VIDIOC_ENUMINPUT:
        return ((struct v4l2_input *)what)->index ? (errno = EINVAL, -1) : 0;
    case VIDIOC_G_INPUT:
        *(int *)what = 0;
        return 0;
    case VIDIOC_S_INPUT:
        return 0;
    case VIDIOC_S_FMT: {
        struct v4l2_pix_format *pix = &((struct v4l2_format *)what)->fmt.pix;
        if (pix->width && pix->width <= 640) width = pix->width, height = pix->height;
        tell_format(pix);
        return 0;
    }
    case VIDIOC_G_FMT:
        tell_format(&((struct v4l2_format *)what)->fmt.pix);
        return 0;
    case VIDIOC_G_PARM:
    case VIDIOC_S_PARM: {
        struct v4l2_captureparm *capture = &((struct v4l2_streamparm *)what)->parm.capture;
        capture->capability = V4L2_CAP_TIMEPERFRAME;
        capture->timeperframe = (struct v4l2_fract){1, FPS};
        return 0;
    }
    case VIDIOC_REQBUFS:
        ((struct v4l2_requestbuffers *)what)->count = BUFFERS;
        return 0;
    case VIDIOC_QUERYBUF: {
        struct v4l2_buffer *buffer = what;
        buffer->length = ROOM;
        buffer->m.offset = buffer->index * ROOM;
        return 0;
    }
    case VIDIOC_QBUF:
        queue[queued++] = ((struct v4l2_buffer *)what)->index;
        return 0;
    case VIDIOC_DQBUF:
        return dequeue(what);
    case VIDIOC_STREAMON:
    case VIDIOC_STREAMOFF:
        return 0;
    }
    errno = ENOTTY;
    return -1;
}

int ioctl(int fd, unsigned long request, ...) {
    static int (*real)(int, unsigned long, ...);
    va_list rest;
    va_start(rest, request);
    void *what = va_arg(rest, void *);
    va_end(rest);
    if (fd >= 0 && fd == device) return answer(request, what);
    if (!real) real = dlsym(RTLD_NEXT, "ioctl");
    return real(fd, request, what);
}

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        static int (*real)(const char *, int, ...);             \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        int mode = va_arg(rest, int);                           \
        va_end(rest);                                           \
        if (is_ours(path)) return open_ours();                  \
        if (!real) real = dlsym(RTLD_NEXT, #name);              \
        return real(path, flags, mode);                         \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "close");
    if (fd >= 0 && fd == device) device = -1;
    return real(fd);
}
